"""Expression across people from their variants."""

import csv

import numpy as np

from data_pipelines.readers.variants import Haplotypes, Variant
from gta.elastic_net import AcrossPeople, dosages, main


def _allele(start):
  return Variant(start, np.zeros(1, np.uint8), np.ones(1, np.uint8))


def _people(number=120, variants=12, seed=0):
  """Dosages of variants 10 bases apart, and haplotypes that have them."""
  rng = np.random.default_rng(seed)
  carried = rng.random((number, 2, variants)) < 0.3
  names = [f'p{i}' for i in range(number)]
  found = {
    ('c', name, side): [
      _allele(10 * at) for at in np.flatnonzero(carried[i, side]).tolist()
    ]
    for i, name in enumerate(names)
    for side in (0, 1)
  }
  return Haplotypes(names, found), carried.sum(1)


def test_dosages_count_alleles_of_a_stretch():
  haplotypes, carried = _people()
  found = dosages(haplotypes, 'c', 20, 60)
  wanted = carried[:, 2:6]
  assert found.shape == wanted.shape
  # In whatever order they were met.
  assert sorted(map(tuple, found.T)) == sorted(map(tuple, wanted.T))
  assert dosages(haplotypes, 'other', 0, 100).shape == (120, 0)


def test_deletions_of_other_lengths_are_other_alleles():
  short, long = (
    Variant(4, np.zeros(size, np.uint8), np.zeros(1, np.uint8))
    for size in (2, 3)
  )
  found = {('c', 'a', 0): [short], ('c', 'b', 0): [long]}
  given = dosages(Haplotypes(['a', 'b'], found), 'c', 0, 9)
  assert given.tolist() == [[1, 0], [0, 1]]


def test_a_causal_variant_is_found_in_people_not_seen():
  haplotypes, carried = _people()
  rng = np.random.default_rng(1)
  value = carried[:, 3] + 0.5 * rng.normal(size=120)
  given = dosages(haplotypes, 'c', 0, 200)
  predicted = AcrossPeople()(given, value)
  assert np.corrcoef(predicted, value)[0, 1] > 0.6
  noise = rng.permutation(value)
  nothing = AcrossPeople()(given, noise)
  assert np.corrcoef(nothing + 1e-9 * carried[:, 0], noise)[0, 1] < 0.3


def test_a_population_is_predicted_from_the_others():
  haplotypes, carried = _people()
  value = carried[:, 3].astype(float)
  groups = ['a'] * 80 + ['b'] * 40
  given = dosages(haplotypes, 'c', 0, 200)
  predicted = AcrossPeople()(given, value, groups)
  assert np.corrcoef(predicted[80:], value[80:])[0, 1] > 0.9


def test_without_variants_everyone_is_alike():
  predicted = AcrossPeople()(np.zeros((10, 0)), np.arange(10.0))
  assert (predicted == 4.5).all()


def _files(tmp_path, number=100):
  """A VCF of ten variants, of which the fourth acts on one gene of two."""
  rng = np.random.default_rng(0)
  genome = rng.choice([*'ACGT'], 2_000)
  (tmp_path / 'genome.fa').write_text(f'>c\n{"".join(genome)}\n')
  names = [f'p{i}' for i in range(number)]
  carried = rng.random((10, number, 2)) < 0.3
  lines = [
    '##fileformat=VCFv4.2',
    '##contig=<ID=c,length=2000>',
    '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">',
    '#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t'
    + '\t'.join(names),
  ]
  for row, both in enumerate(carried.astype(int).tolist()):
    at = 100 * (row + 1)
    ref = genome[at - 1]
    alt = 'A' if ref != 'A' else 'C'
    calls = [f'{one}|{other}' for one, other in both]
    lines.append(
      '\t'.join(['c', str(at), '.', ref, alt, '.', '.', '.', 'GT', *calls])
    )
  (tmp_path / 'people.vcf').write_text('\n'.join(lines) + '\n')
  acts = carried[3].sum(-1) + 0.3 * rng.normal(size=number)
  rows = {'near': (420, acts), 'none': (420, rng.normal(size=number))}
  # In another order than that of the VCF.
  order = np.arange(number)[::-1]
  text = '\t'.join(['#Chr', 'start', 'end', 'ID', *(names[i] for i in order)])
  for gene, (at, values) in rows.items():
    given = [f'{values[i]:.4f}' for i in order]
    text += '\n' + '\t'.join(['c', str(at), str(at + 1), gene, *given])
  (tmp_path / 'table.bed').write_text(text + '\n')
  files = {
    'genome': 'genome.fa',
    'expression': 'table.bed',
    'variants': 'people.vcf',
    'out': 'out.csv',
  }
  return [f'--{name}={tmp_path / file}' for name, file in files.items()]


def test_the_command_says_how_well_people_are_told_apart(tmp_path, capsys):
  assert main([*_files(tmp_path), '--reach=150']) == 0
  with (tmp_path / 'out.csv').open(newline='') as file:
    rows = {row['gene']: row for row in csv.DictReader(file)}
  # 271 to 570 has three variants.
  assert rows['near']['variants'] == '3' and rows['near']['people'] == '100'
  assert float(rows['near']['pearson']) > 0.8
  assert abs(float(rows['none']['pearson'])) < 0.35
  assert '2 genes, 100 people' in capsys.readouterr().out


def test_people_without_expression_are_one_line(tmp_path, capsys):
  arguments = _files(tmp_path)
  table = tmp_path / 'table.bed'
  table.write_text(table.read_text().replace('p7\t', 'q7\t'))
  assert main(arguments) == 2
  assert 'no column of p7' in capsys.readouterr().err
  assert not (tmp_path / 'out.csv').exists()
