"""Tokenizers: there and back, frames, strands, N, and scores that agree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backbone.train import provenance
from data_pipelines import central_dogma, records
from lifecode.tokenizers import ConvMerge, Lookup
from lifecode.tokenizers.interface import MASK
from lifecode.tokenizers.lookup import word_ids
from tests.tolerance import assert_close

TOKENIZERS = [
  ConvMerge(base_width=8),
  ConvMerge(base_width=8, head='codons'),
  Lookup(1),
  Lookup(3),
  Lookup(6),
]
DTYPE = jnp.dtype('float32')
EACH = pytest.mark.parametrize('tokenizer', TOKENIZERS, ids=repr)
sequences = st.text('ACGTN', max_size=40).map(central_dogma.encode)


def words_with_n(sequence, unit):
  """The sequence; N throughout every word that has one or is not whole."""
  missing = -len(sequence) % unit
  words = np.pad(sequence, (0, missing), constant_values=records.N)
  words = words.reshape(-1, unit).copy()
  words[(words == records.N).any(-1)] = records.N
  return words.reshape(-1)[: len(sequence)]


@EACH
@given(sequence=sequences)
def test_there_and_back(tokenizer, sequence):
  ids = tokenizer.tokenize(sequence)
  assert len(ids) == -(-len(sequence) // tokenizer.unit)
  assert ids.max(initial=0) < len(tokenizer.vocabulary)
  kept = sequence
  if isinstance(tokenizer, Lookup):
    kept = words_with_n(sequence, tokenizer.unit)
  np.testing.assert_array_equal(tokenizer.untokenize(ids, len(sequence)), kept)


@EACH
@given(sequence=sequences, place=st.integers(0, 39))
def test_an_n_changes_no_other_unit(tokenizer, sequence, place):
  if place >= len(sequence):
    return
  other = sequence.copy()
  other[place] = records.N
  one, two = tokenizer.tokenize(sequence), tokenizer.tokenize(other)
  differs = (one != two).reshape(len(one), -1).any(-1)
  differs[place // tokenizer.unit] = False
  assert not differs.any()


@EACH
def test_the_negative_strand_is_turned_before_the_phase_counts(tokenizer):
  rng = np.random.default_rng(0)
  coding = rng.integers(0, 4, 36).astype(np.uint8)
  # On the forward strand: two bases of the codon before come last.
  before = rng.integers(0, 4, 2).astype(np.uint8)
  forward = central_dogma.reverse_complement(np.concatenate([before, coding]))
  ids = tokenizer.tokenize(forward, phase=2, strand=-1)
  np.testing.assert_array_equal(ids, tokenizer.tokenize(coding))


def test_a_wrong_frame_is_refused():
  with pytest.raises(ValueError, match='phase 3, strand 1'):
    Lookup(3).tokenize(np.zeros(6, np.uint8), phase=3)


def test_codons_count_as_everywhere():
  vocabulary = Lookup(3).vocabulary
  assert vocabulary[:64] == central_dogma.CODONS
  assert vocabulary[64:] == ('NNN', '###', '---')
  for sequence in ('ATG', 'TTT', 'ANG'):
    bases = central_dogma.encode(sequence)
    assert Lookup(3).tokenize(bases) == central_dogma.codon_ids(bases)


def test_every_vocabulary_has_a_hash_of_its_own():
  hashes = {provenance.hash_text(t.vocabulary) for t in TOKENIZERS}
  # The two heads of the learned tokenizer read the same ids.
  assert len(hashes) == len(TOKENIZERS) - 1


def made(tokenizer, sequence, segment_ids=None):
  """The module, and its embedding of one row."""
  codec = tokenizer.make(16, key=jax.random.key(0))
  sequence = jnp.asarray(sequence, jnp.int32)[None]
  if segment_ids is None:
    segment_ids = np.ones(sequence.shape[1], np.int32)
  segment_ids = jnp.asarray(segment_ids)[None]
  return codec, sequence, *codec.embed(sequence, segment_ids, DTYPE)


@EACH
def test_scores_of_bases_add_up_to_those_of_codons(tokenizer):
  sequence = np.random.default_rng(0).integers(0, 4, 48)
  sequence[7] = records.N
  codec, row, hidden, rest = made(tokenizer, sequence)
  if isinstance(tokenizer, Lookup):
    ids = tokenizer.tokenize(sequence.astype(np.uint8))
    np.testing.assert_array_equal(word_ids(row, tokenizer.unit)[0], ids)
  scores = codec.scores(hidden, rest, row)
  unscored = ~np.asarray(scores.is_scored)[0]
  first = 7 // tokenizer.unit * tokenizer.unit
  expected = (
    [7] if _is_by_base(tokenizer) else range(first, first + tokenizer.unit)
  )
  assert np.flatnonzero(unscored).tolist() == list(expected)
  if tokenizer.unit == 6:
    with pytest.raises(ValueError, match='words of 6 bases'):
      codec.codons(hidden, rest)
    return
  codons = codec.codons(hidden, rest)
  assert_close(
    jnp.exp(codons).sum(-1), np.ones((1, 16)), dtype=jnp.float32, length=64
  )
  ids = central_dogma.codon_ids(sequence.astype(np.uint8))
  whole = np.flatnonzero(ids < 64)
  by_codon = -np.asarray(codons)[0, whole, ids[whole]]
  by_base = np.asarray(scores.nats)[0].reshape(-1, 3).sum(-1)[whole]
  assert_close(by_base, by_codon, dtype=jnp.float32, length=64)


def _is_by_base(tokenizer):
  return tokenizer.unit == 1 or getattr(tokenizer, 'head', '') == 'bases'


@EACH
def test_nothing_shows_through_a_mask(tokenizer):
  rng = np.random.default_rng(0)
  sequence = rng.integers(0, 4, 48)
  masked = np.full(48, MASK)
  hidden = made(tokenizer, masked)[2]
  other = made(tokenizer, np.where(np.arange(48) < 24, masked, sequence))[2]
  # Another row, with bases behind the first mask's far end.
  reach = 24 - 6
  kept = reach // tokenizer.unit
  np.testing.assert_array_equal(hidden[:, :kept], other[:, :kept])
  assert np.unique(np.asarray(hidden)[0, 2:-2], axis=0).shape[0] == 1


@EACH
def test_a_unit_reads_its_own_segment_alone(tokenizer):
  sequence = np.random.default_rng(0).integers(0, 4, 48)
  segment_ids = np.repeat([1, 2, 0], [24, 21, 3])
  _, _, together, _ = made(tokenizer, sequence, segment_ids)
  changed = np.where(segment_ids == 1, sequence, 3 - sequence)
  _, _, other, _ = made(tokenizer, changed, segment_ids)
  kept = 24 // tokenizer.unit
  np.testing.assert_array_equal(together[:, :kept], other[:, :kept])
  # The last word of six begins in segment 2 and ends in padding.
  changed = np.where(segment_ids == 0, 3 - sequence, sequence)
  _, _, other, _ = made(tokenizer, changed, segment_ids)
  kept = -(-45 // tokenizer.unit)
  np.testing.assert_array_equal(together[:, :kept], other[:, :kept])


@pytest.mark.parametrize(
  ('make', 'message'),
  [
    (lambda: ConvMerge(convolution_size=4), 'must be odd, not 4'),
    (lambda: Lookup(4), 'a word of 4 bases: choose 1, 3 or 6'),
  ],
)
def test_bad_sizes_are_refused(make, message):
  with pytest.raises(ValueError, match=message):
    make()
