"""Haplotypes and expression of people."""

import numpy as np
import pysam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipelines import central_dogma
from data_pipelines.errors import InputError
from data_pipelines.genes import people
from data_pipelines.readers.variants import (
  Haplotypes,
  Variant,
  read_haplotypes,
)
from tests.real_data import data_path

GENOME = 'ACGTTGCAACGTAGGTTCAA'
HEADER = (
  '##fileformat=VCFv4.2\n'
  f'##contig=<ID=chr1,length={len(GENOME)}>\n'
  '##contig=<ID=chr2,length=5>\n'
  '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
  '#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tone\ttwo\n'
)


def _write(tmp_path, *rows):
  lines = [
    f'{contig}\t{position}\t.\t{ref}\t{alt}\t.\t.\t.\tGT\t{one}\t{two}\n'
    for contig, position, ref, alt, one, two in rows
  ]
  path = tmp_path / 'people.vcf'
  path.write_text(HEADER + ''.join(lines))
  return path


def _contigs():
  return {'chr1': central_dogma.encode(GENOME)}


def _around(found, person, haplotype, anchor, before, after):
  key = 'chr1', person, haplotype
  made = found.around(_contigs()['chr1'], key, anchor, before, after)
  return central_dogma.decode(made)


def test_a_damaged_file_is_one_line(tmp_path):
  rows = [('chr1', 1, 'A', 'C', '0|1', '0|0')] * 5_000
  path = tmp_path / 'people.vcf.gz'
  pysam.tabix_compress(str(_write(tmp_path, *rows)), str(path))
  content = bytearray(path.read_bytes())
  # In the last of its blocks but the one that ends it.
  content[-60] ^= 255
  path.write_bytes(content)
  with pytest.raises(InputError, match=r'people\.vcf\.gz: damaged'):
    read_haplotypes(path, _contigs())


def test_haplotypes_have_their_alleles(tmp_path):
  path = _write(
    tmp_path,
    ('chr1', 3, 'G', 'T', '0|1', '1|1'),
    ('chr1', 12, 'T', 'TAA', '1|0', '0|0'),
    ('chr1', 16, 'TTC', 'T', '1|0', '0|0'),
  )
  found = read_haplotypes(path, _contigs())
  assert found.people == ['one', 'two']
  whole = 10, 10, 10
  assert _around(found, 'one', 1, *whole) == 'ACTTTGCAACGTAGGTTCAA'
  assert _around(found, 'two', 0, *whole) == 'ACTTTGCAACGTAGGTTCAA'
  # Two bases more, and two less behind: the window ends where it did.
  assert _around(found, 'one', 0, *whole) == 'ACGTTGCAACGTAAAGGTAA'
  # Left of the anchor an insertion pushes what is before it out.
  assert _around(found, 'one', 0, 13, 6, 2) == 'CGTAAAGG'


def test_windows_beyond_the_contig_are_unknown(tmp_path):
  found = read_haplotypes(_write(tmp_path), _contigs())
  assert _around(found, 'one', 0, 2, 4, 3) == 'NNACGTT'


@given(
  st.lists(
    st.tuples(st.integers(0, 39), st.integers(1, 3), st.integers(1, 4)),
    max_size=8,
  ),
  st.integers(0, 40),
  st.integers(0, 30),
  st.integers(1, 30),
)
def test_windows_are_pieces_of_the_whole_haplotype(
  drawn, anchor, before, after
):
  rng = np.random.default_rng(0)
  contig = rng.integers(0, 4, 40).astype(np.uint8)
  variants, end = [], 0
  for start, size, other in sorted(drawn):
    if start < end or start + size > 40 or start < anchor < start + size:
      continue
    alternative = rng.integers(0, 4, other).astype(np.uint8)
    variants.append(Variant(start, contig[start : start + size], alternative))
    end = start + size
  found = Haplotypes(['a'], {('c', 'a', 0): variants})
  made = found.around(contig, ('c', 'a', 0), anchor, before, after)
  # Letter by letter.
  sides = [[], []]
  at = 0
  for variant in [*variants, None]:
    stop = 40 if variant is None else variant.start
    for base in range(at, stop):
      sides[base >= anchor].append(contig[base])
    if variant is not None:
      sides[variant.start >= anchor] += variant.alternative.tolist()
      at = variant.end
  left, right = sides
  left = ([4] * before + left)[len(left) :] if before else []
  right = (right + [4] * after)[:after]
  np.testing.assert_array_equal(made, [*left, *right])


@pytest.mark.parametrize(
  ('row', 'message'),
  [
    (('chr1', 3, 'A', 'T', '0|1', '0|0'), 'chr1:3: REF is A, the genome has G'),
    (('chr1', 20, 'AC', 'A', '0|1', '0|0'), 'REF is AC, the genome has A;'),
    (('chr2', 3, 'A', 'T', '0|1', '0|0'), "the genome has no 'chr2' but chr1"),
    (('chr1', 3, 'G', 'T', '0/1', '0|0'), 'genotype of one is not phased'),
  ],
)
def test_another_build_and_unphased_people_are_refused(tmp_path, row, message):
  with pytest.raises(InputError, match=message):
    read_haplotypes(_write(tmp_path, row), _contigs())


def test_people_that_are_not_there_are_named(tmp_path):
  path = _write(tmp_path)
  with pytest.raises(InputError, match="no sample 'me'; there are 2"):
    read_haplotypes(path, _contigs(), ['me'])
  with pytest.raises(InputError, match='cannot be read as VCF'):
    read_haplotypes(tmp_path / 'none.vcf', _contigs())


def test_alleles_that_are_no_bases_and_overlaps_are_counted(tmp_path):
  path = _write(
    tmp_path,
    ('chr1', 3, 'GTT', 'G', '1|1', '0|0'),
    ('chr1', 4, 'T', 'A', '1|0', '0|0'),
    ('chr1', 9, 'A', '<DEL>', '1|0', '0|0'),
  )
  notes = read_haplotypes(path, _contigs()).notes
  assert notes == (
    '1 alleles of people.vcf left out: alleles that are no bases',
    '1 alleles of people.vcf left out: overlaps',
  )


def test_expression_of_geuvadis_is_read():
  path = data_path('geuvadis_chr22/geuvadis_chr22_373ind.phenotypes.bed.gz')
  found = people.read_bed(path)
  assert found.values.shape == (364, 373)
  assert np.isfinite(found.values).all()
  assert abs(found.values.mean(1)).max() < 0.2
  with pytest.raises(InputError, match='another genome build'):
    people.read_bed(path, [('22', 1_000)])


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('a\tb\n', ':1: expected a header'),
    ('#Chr\tstart\tend\tID\tp\n1\t5\t6\tg\n', ':2: 4 columns'),
    ('#Chr\tstart\tend\tID\tp\n1\t5\t6\tg\tx\n', ':2: could not convert'),
    ('#Chr\tstart\tend\tID\tp\n', 'no gene in it'),
  ],
)
def test_damaged_tables_are_refused(tmp_path, text, message):
  path = tmp_path / 'table.bed'
  path.write_text(text)
  with pytest.raises(InputError, match=message):
    people.read_bed(path)


EXPRESSION = (
  '#Chr\tstart\tend\tID\tone\ttwo\n'
  'chr1\t4\t5\ta\t0\t3\nchr1\t9\t10\tb\t1\t1\n'
  'chr1\t2\t3\tc\t1\t1\n'
)


def _geuvadis(tmp_path, expression=EXPRESSION, starts='a,-\nb,+\n', **more):
  (tmp_path / 'genome.fa').write_text(f'>chr1\n{GENOME}\n')
  (tmp_path / 'table.bed').write_text(expression)
  (tmp_path / 'starts.csv').write_text(f'gene,strand\n{starts}')
  names = 'genome.fa', 'table.bed', 'starts.csv'
  files = (str(tmp_path / name) for name in names)
  return people.MeanOfPeople(*files, **more)


def test_genes_have_the_mean_of_people(tmp_path):
  found = _geuvadis(tmp_path, texts=lambda: {'a': 'Kinase.', 'b': 'TPM 3'})()
  a, b = found.genes
  assert (a.anchor, a.strand, a.text) == (4, -1, 'Kinase.')
  assert (b.anchor, b.strand, b.text) == (9, 1, '')
  np.testing.assert_allclose([a.value, b.value], np.log([2, 2]))
  assert found.notes == ('1 genes left out: starts.csv lacks them',)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'expression': EXPRESSION.replace('\t3\n', '\t-3\n')}, 'below 0'),
    ({'starts': 'x,+\n'}, 'name genes alike'),
    ({'starts': 'a,?\n'}, r'starts\.csv:2'),
    ({'texts': lambda: {'a': 'Kinase.'}}, 'gene b has no text'),
    ({'expression': EXPRESSION.replace('\t9\t', '\t99\t')}, 'chr1:100'),
  ],
)
def test_tables_of_people_that_cannot_be_meant_are_one_line(
  tmp_path, changes, message
):
  with pytest.raises(InputError, match=message):
    _geuvadis(tmp_path, **changes)()
