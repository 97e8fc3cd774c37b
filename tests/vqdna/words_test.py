"""Words that are not learnt, against a count by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines import records
from tests.vqdna.batches import make_batch
from vqdna.words import KMers, Tokens, Words, select, standardised


def _by_hand(batch, size, is_hidden):
  """The word around every base, -1 where it is none."""
  sequence = batch['sequence'].astype(int)
  segment_ids = batch['segment_ids']
  before = (size - 1) // 2
  ids = np.full(sequence.shape, -1)
  for row, base in np.ndindex(sequence.shape):
    at = np.arange(base - before, base - before + size)
    if at[0] < 0 or at[-1] >= sequence.shape[1]:
      continue
    letters = sequence[row, at]
    is_one = (segment_ids[row, at] == segment_ids[row, base]).all()
    is_known = (letters < 4).all() and not is_hidden[row, at].any()
    if is_one and is_known and segment_ids[row, base]:
      ids[row, base] = np.polyval(letters, 4)
  return ids


@settings(max_examples=25, deadline=None)
@given(
  size=st.integers(1, 6),
  seed=st.integers(0, 1000),
  rate=st.sampled_from([0.0, 0.1]),
)
def test_words_are_those_counted_by_hand(size, seed, rate):
  batch = make_batch(rows=3, seed=seed)
  rng = np.random.default_rng(seed)
  is_hidden = rng.random(batch['sequence'].shape) < rate
  wanted = _by_hand(batch, size, is_hidden)
  words = KMers(size)
  found = words((), jax.tree.map(jnp.asarray, batch), jnp.asarray(is_hidden))
  np.testing.assert_array_equal(found.is_real, wanted >= 0)
  ids = np.asarray(found.ids[0])
  np.testing.assert_array_equal(ids[wanted >= 0], wanted[wanted >= 0])
  assert ids.min() >= 0 and ids.max() < words.sizes[0] == 4**size


def test_words_keep_their_protocol():
  words = KMers(6)
  assert isinstance(words, Words)
  assert words.hash != KMers(5).hash
  assert words.vectors((), (jnp.zeros((1, 3), jnp.int32),)) is None
  for size in (0, 9):
    with pytest.raises(ValueError, match='1 to 8'):
      KMers(size)


def test_padding_is_no_word():
  batch = make_batch()
  found = KMers(1)((), jax.tree.map(jnp.asarray, batch))
  np.testing.assert_array_equal(found.is_real, batch['sequence'] < records.N)


def test_tokens_are_taken_from_either():
  one, other = (
    Tokens(
      (jnp.full((1, 3), n),),
      jnp.full((1, 3, 2), float(n)),
      jnp.full((1, 3), n == 0),
    )
    for n in (0, 1)
  )
  condition = jnp.array([[True, False, True]])
  found = select(condition, one, other)
  np.testing.assert_array_equal(found.ids[0], [[0, 1, 0]])
  np.testing.assert_array_equal(found.vectors[0, :, 0], [0, 1, 0])
  np.testing.assert_array_equal(found.is_real, condition)


def test_standardised_codes_are_centred_and_of_deviation_one():
  rng = np.random.default_rng(0)
  books = tuple(
    jnp.asarray(5 + 3 * rng.normal(size=(size, 4)), jnp.float32)
    for size in (8, 16)
  )
  made = np.concatenate([standardised(book, books) for book in books])
  np.testing.assert_allclose(made.mean(0), 0, atol=1e-5)
  np.testing.assert_allclose(np.square(made).mean(), 1, rtol=1e-5)
