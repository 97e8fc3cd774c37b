"""Variants as codons: only what is mutated changes."""

import dataclasses
import gzip
import zipfile

import numpy as np
import pytest

from backbone.downstream import kmer, metrics
from data_pipelines import central_dogma, records
from data_pipelines.errors import InputError
from data_pipelines.tasks import codons
from data_pipelines.tasks.choose import Limits
from data_pipelines.tasks.codons import ReverseTranslation
from data_pipelines.tasks.fitness import DeepMutationalScan, FlipVariants
from data_pipelines.tasks.variants import Coding
from tests.real_data import data_path


def _scan(dataset, **changes):
  folder = data_path('dms')
  return DeepMutationalScan(
    str(folder / f'{dataset}.tsv.gz'),
    str(folder / 'wild_types.tsv'),
    dataset,
    str(folder / 'splits' / dataset),
    **changes,
  )


def _residues(task):
  rows = [central_dogma.translate(s, 1) for s in task.sequences]
  return [central_dogma.decode_protein(row) for row in rows]


def test_variants_of_gfp_differ_from_the_wild_type_as_named():
  limits = Limits(train=300, validation=100, test=200)
  task = _scan('avgfp', limits=limits)()
  assert [(task.split == name).sum() for name in records.SPLITS] == [
    300,
    100,
    200,
  ]
  assert task.notes[0] == 'train: 300 of 43,758 examples taken, seed 0'
  assert task.kind == records.PROTEIN
  wild = data_path('dms', 'wild_types.tsv').read_text().splitlines()[1]
  wild = wild.split('\t')[2]
  with gzip.open(data_path('dms', 'avgfp.tsv.gz'), 'rt') as lines:
    rows = [line.split('\t') for line in lines.read().splitlines()[1:]]
  known = {frozenset(row[0].split(',')): float(row[2]) for row in rows}
  num_changed = []
  for residues, value in zip(_residues(task), task.labels, strict=True):
    found = {
      f'{old}{at}{new}'
      for at, (old, new) in enumerate(zip(wild, residues, strict=True))
      if old != new
    }
    assert known[frozenset(found)] == value
    num_changed.append(len(found))
  assert max(num_changed) > 3


def test_all_variants_are_read_and_splits_are_the_published_ones():
  task = _scan('pab1')()
  assert len(task.labels) == 40852
  sizes = [(task.split == name).sum() for name in records.SPLITS]
  assert sizes == [33089, 3677, 4086]
  assert task.notes == ()
  distinct = {sequence.tobytes() for sequence in task.sequences}
  assert len(distinct) == 40852


def test_mutations_reach_the_known_correlation_of_gb1():
  task = FlipVariants(
    str(data_path('flip', 'gb1', 'splits.zip')),
    'splits/three_vs_rest.csv',
    str(data_path('flip', 'gb1', '5LDE_1.fasta')),
    'gb1',
  )()
  counts = [(task.split == name).sum() for name in records.SPLITS]
  assert sum(counts[:2]) == 2990 and counts[2] == 5743
  mutated = np.stack(task.sequences) != task.sequences[0]
  assert set(np.flatnonzero(mutated.any(0)) // 3) == {38, 39, 40, 53}
  config = kmer.KmerConfig(ks=(), residue_ks=())
  score, chosen = kmer.evaluate(task, metrics.Bootstrap(), config)
  # A ridge on one-hot residues reaches 0.755.
  assert chosen == 'mutations'
  assert score.value == pytest.approx(0.755, abs=0.03)


def test_minimum_edit_takes_the_nearest_codon_then_the_commonest():
  usage = np.ones(64)
  usage[central_dogma.CODONS.index('TTG')] = 5
  nearest = codons.nearest_codons(usage, 1)
  read = {
    (old, new): central_dogma.CODONS[
      nearest[central_dogma.CODONS.index(old), records.AMINO_ACIDS.index(new)]
    ]
    for old, new in (('CAA', 'L'), ('TTT', 'L'), ('TTT', 'M'), ('TGG', '*'))
  }
  assert read == {
    ('CAA', 'L'): 'CTA',
    ('TTT', 'L'): 'TTG',
    ('TTT', 'M'): 'ATG',
    ('TGG', '*'): 'TAG',
  }
  assert (nearest[:, records.AMINO_ACIDS.index('X')] == -1).all()


def _files(
  tmp_path,
  variants='K11R\t1\nK11R,F12L\t2\nM10V\t3\n',
  splits=('0', '1', '2'),
):
  """A scan of MKF, whose first residue is number 10."""
  (tmp_path / 'wild.tsv').write_text(
    'dataset\twt_offset\twt_aa\nother\t0\tM\ntoy\t10\tMKF\n'
  )
  (tmp_path / 'toy.tsv').write_text('variant\tscore\n' + variants)
  for stem, rows in zip(('train', 'tune', 'stest'), splits, strict=True):
    with gzip.open(tmp_path / f'{stem}.txt.gz', 'wt') as file:
      file.write('\n'.join(rows.split()) + '\n')
  return DeepMutationalScan(
    str(tmp_path / 'toy.tsv'),
    str(tmp_path / 'wild.tsv'),
    'toy',
    str(tmp_path),
  )


@pytest.mark.parametrize('mutant_codon', ['minimum_edit', 'sampled'])
def test_other_codons_stay_those_of_the_real_cds(tmp_path, mutant_codon):
  scan = _files(tmp_path)
  (tmp_path / 'cds.fa').write_text('>wild\nATGAAGTTC\n')
  coding = Coding(str(tmp_path / 'cds.fa'), mutant_codon)
  task = dataclasses.replace(scan, coding=coding)()
  texts = [central_dogma.decode(s) for s in task.sequences]
  assert _residues(task) == ['MRF', 'MRL', 'VKF']
  assert [text[:3] for text in texts[:2]] == ['ATG', 'ATG']
  assert texts[0][6:] == texts[2][6:] == 'TTC' and texts[2][3:6] == 'AAG'
  if mutant_codon == 'minimum_edit':
    assert texts[0] == 'ATGAGGTTC' and texts[2][:3] == 'GTG'
  assert task.split.tolist() == ['train', 'validation', 'test']
  again = dataclasses.replace(scan, coding=coding)()
  assert all(map(np.array_equal, again.sequences, task.sequences))


def test_codons_drawn_follow_seed_and_usage(tmp_path):
  (tmp_path / 'usage.fa').write_text('>a\n' + 'AAG' * 30 + 'TTC' * 30 + '\n')
  usage_from = str(tmp_path / 'usage.fa')
  texts = []
  for seed in range(3):
    drawn = ReverseTranslation(usage_from, seed=seed)('MKF' * 50, 'here')
    texts.append(central_dogma.decode(drawn))
  assert len(set(texts)) > 1
  assert texts[0].count('AAG') >= 40 and texts[0].count('TTC') >= 40


@pytest.mark.parametrize(
  'variants, said',
  [
    ('K11R\t1\nR11K\t2\n', r"tsv:3: variant 'R11K': .*'K' at position 11, not"),
    ('K19R\t1\n', r"tsv:2: variant 'K19R': position 19 is outside .*10 to 12"),
    ('K1R\t1\n', r"tsv:2: variant 'K1R': position 1 is outside"),
    ('KR\t1\n', r"tsv:2: variant 'KR': 'KR' is not a letter, a position"),
    ('K11R,K11R\t1\n', r'tsv:2: .* position 11 is mutated twice'),
    ('K11X\t1\n', r"tsv:2: residue 'X' at 0-based position 1 has no codon"),
    ('K11!\t1\n', r"tsv:2: illegal letter '!'"),
    ('K11R\tlow\n', r"tsv:2: score 'low' is not"),
    ('\t1\n', r'tsv:2: empty variant'),
  ],
)
def test_bad_variants_are_named(tmp_path, variants, said):
  train = '0' if variants.count('\n') == 1 else '0 1'
  with pytest.raises(InputError, match=said) as caught:
    _files(tmp_path, variants, (train, '', ''))()
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
  'splits, said',
  [
    (('0', '1', '8'), r'stest\.txt\.gz:1: row 8, but .*toy\.tsv has 3'),
    (('0', '2 1', '1'), r'stest\.txt\.gz:1: row 1 is in validation as well'),
    (('0', '1', '2 x'), r"stest\.txt\.gz:2: row 'x' is not a whole number"),
  ],
)
def test_bad_splits_are_named(tmp_path, splits, said):
  with pytest.raises(InputError, match=said):
    _files(tmp_path, splits=splits)()


def test_variants_in_no_split_are_counted(tmp_path):
  task = _files(tmp_path, splits=('0', '', '2'))()
  assert len(task.labels) == 2
  assert task.notes == ('1 variants are in no split',)


def test_wild_types_must_be_the_ones_mutated(tmp_path):
  scan = _files(tmp_path)
  with pytest.raises(InputError, match="no dataset 'none'; there are other"):
    dataclasses.replace(scan, dataset='none')()
  (tmp_path / 'cds.fa').write_text('>wild\nATGAAGTTG\n')
  coding = Coding(str(tmp_path / 'cds.fa'))
  with pytest.raises(InputError, match=r"'wild': reads MKL.* not the wild .*"):
    dataclasses.replace(scan, coding=coding)()
  with zipfile.ZipFile(tmp_path / 'splits.zip', 'w') as archive:
    archive.writestr('a.csv', 'sequence,target,set,validation\nMK,1,train,\n')
  (tmp_path / 'wild.fa').write_text('>wild\nMKF\n')
  variants = FlipVariants(
    str(tmp_path / 'splits.zip'), 'a.csv', str(tmp_path / 'wild.fa'), 'toy'
  )
  with pytest.raises(InputError, match=r'a\.csv:2: 2 residues, but .* has 3'):
    variants()
