"""The central dogma under every genetic code."""

import numpy as np
import pytest
from Bio.Data import CodonTable
from Bio.Seq import Seq
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines import central_dogma as cd
from data_pipelines.errors import InputError
from data_pipelines.records import AMINO_ACIDS, N

TABLES = sorted(CodonTable.unambiguous_dna_by_id)
# Every stop of these is a residue too, unless it ends the protein.
STOPS_ARE_RESIDUES = (27, 28, 31)
few = settings(max_examples=30, deadline=None)
dna = st.text('ACGTN', max_size=60)
proteins = st.text('ACDEFGHIKLMNPQRSTVWY', min_size=1, max_size=40)


@few
@given(dna)
def test_reverse_complement_is_its_own_inverse(text):
  sequence = cd.encode(text)
  twice = cd.reverse_complement(cd.reverse_complement(sequence))
  assert np.array_equal(twice, sequence)
  expected = str(Seq(text).reverse_complement())
  assert cd.decode(cd.reverse_complement(sequence)) == expected


@few
@given(dna)
def test_reverse_transcription_leaves_the_frame(text):
  assert cd.reverse_transcribe(cd.transcribe(text)) == text
  assert np.array_equal(cd.encode(cd.transcribe(text)), cd.encode(text))


@pytest.mark.parametrize('table', TABLES)
def test_every_codon_reads_as_ncbi_says(table):
  ncbi = CodonTable.unambiguous_dna_by_id[table]
  amino_acids = cd.translate(cd.encode(''.join(cd.CODONS)), table)
  for codon, found in zip(cd.CODONS, amino_acids, strict=True):
    assert AMINO_ACIDS[found] == ncbi.forward_table.get(codon, '*')
  code = cd.genetic_code(table)
  assert {
    c for c, is_start in zip(cd.CODONS, code.starts, strict=True) if is_start
  } == set(ncbi.start_codons)


@few
@given(
  proteins,
  st.sampled_from(TABLES),
  st.sampled_from(['usage', 'uniform']),
  st.integers(0, 2**32),
)
def test_reverse_translation_translates_back(text, table, policy, seed):
  rng = np.random.default_rng(seed)
  usage = rng.random(64) * (rng.random(64) < 0.5)
  amino_acids = cd.encode_protein(text + '*')
  sequence = cd.reverse_translate(
    amino_acids, table, policy=policy, usage=usage, rng=rng
  )
  back = cd.translate(sequence, table, is_complete_end=True)
  assert cd.decode_protein(back) == text + '*'
  if table not in STOPS_ARE_RESIDUES:
    assert np.array_equal(cd.translate(sequence, table), amino_acids)


def test_usage_policy_follows_the_organism():
  usage = np.zeros(64)
  usage[cd.CODONS.index('CTG')] = 3
  usage[cd.CODONS.index('TTA')] = 1
  leucines = cd.encode_protein('L' * 4000)
  sequence = cd.reverse_translate(
    leucines, 1, usage=usage, rng=np.random.default_rng(0)
  )
  shares = cd.codon_counts(sequence) / 4000
  # Five standard errors of a share of 3/4 among 4,000 draws.
  assert abs(shares[cd.CODONS.index('CTG')] - 0.75) < 5 * (0.1875 / 4000) ** 0.5
  assert shares[cd.CODONS.index('TTA')] == pytest.approx(
    1 - shares[cd.CODONS.index('CTG')]
  )


def test_ambiguous_residues():
  rng = np.random.default_rng(0)
  drawn = cd.encode_protein('BZJ' * 50, rng=rng)
  assert set(cd.decode_protein(drawn)) == set('NDQELI')
  assert cd.decode_protein(cd.encode_protein('BZJ')) == 'XXX'
  sequence = cd.reverse_translate(
    cd.encode_protein('XUO'), 1, policy='uniform', rng=rng
  )
  assert cd.decode(sequence) == 'NNNTGATAG'


@few
@given(st.text('ACGT', min_size=9, max_size=60), st.integers(0, 8))
def test_an_n_leaves_other_codons_unshifted(text, position):
  plain = cd.encode(text)
  changed = plain.copy()
  changed[position] = N
  others = np.arange(len(text) // 3) != position // 3
  for table in (1, 2, 11):
    expected = cd.translate(plain, table)[others]
    assert np.array_equal(cd.translate(changed, table)[others], expected)
  assert cd.codon_ids(changed)[position // 3] == cd.AMBIGUOUS_CODON


def test_ambiguous_codon_is_read_where_all_readings_agree():
  amino_acids = cd.translate(cd.encode('GGNAAYNNN'), 1)
  # AAY is AAN once stored: lysine or asparagine.
  assert cd.decode_protein(amino_acids) == 'GXX'


def test_alternative_start_and_stop():
  gtg = cd.encode('GTGAAATGA')
  assert cd.decode_protein(cd.translate(gtg, 11)) == 'VK*'
  started = cd.translate(gtg, 11, is_complete_start=True)
  assert cd.decode_protein(started) == 'MK*'
  # GTG starts nothing in table 1; TGA is tryptophan in mitochondria.
  standard = cd.translate(gtg, 1, is_complete_start=True)
  assert cd.decode_protein(standard) == 'VK*'
  assert cd.decode_protein(cd.translate(gtg, 3)) == 'VKW'


def test_codon_usage_is_shared_among_synonyms():
  usage = cd.codon_usage([cd.encode('CTG' * 94 + 'ATGNNN')], 1)
  assert usage[cd.CODONS.index('CTG')] == pytest.approx(95 / 100)
  code = cd.genetic_code(1)
  sums = np.bincount(code.amino_acid_of_codon, usage)
  assert np.allclose(sums[sums > 0], 1)


def test_illegal_letter_is_named_with_its_position():
  with pytest.raises(InputError, match="'!' at 0-based position 3"):
    cd.encode('ACG!T')
  with pytest.raises(InputError, match='position 1'):
    cd.encode_protein('M1')
  assert cd.decode(cd.encode('acguRYn')) == 'ACGTNNN'
