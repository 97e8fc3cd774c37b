"""A sequence is encoded the same however it is laid out.

The bound is that of the products (`tests/tolerance.py`), over the 24 units of
a row: float32, of values of order one.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from backbone.inference.chunks import encode_in_chunks
from data_pipelines import records
from lifecode.model import LifeCode, encode
from tests.lifecode.batches import (
  LENGTH,
  SEGMENTS,
  TINY,
  make_batch,
  on_device,
  segment,
)
from tests.tolerance import assert_close

close = functools.partial(assert_close, dtype=jnp.float32, length=LENGTH)


@pytest.fixture(scope='module')
def model():
  """Not as initialised: regions start at nought."""
  made = LifeCode(TINY, key=jax.random.key(0))
  graph, params = nnx.split(made)
  keys = iter(jax.random.split(jax.random.key(1), 99))
  moved = jax.tree.map(
    lambda x: x + 0.1 * jax.random.normal(next(keys), x.shape), params
  )
  return nnx.merge(graph, moved)


def test_a_batch_of_one_is_as_one_of_many(model):
  batch = make_batch()
  together = encode(model, on_device(batch))
  for row in (0, 7):
    alone = {name: x[row : row + 1] for name, x in batch.items()}
    close(encode(model, on_device(alone))[0], together[row])


@pytest.mark.parametrize('number', range(len(SEGMENTS)))
def test_packed_is_as_alone_whatever_the_kind(model, number):
  batch = make_batch()
  start, length, _ = SEGMENTS[number]
  together = encode(model, on_device(batch))
  alone = encode(model, on_device(segment(batch, number)))
  close(alone, together[:, start // 3 : (start + length) // 3])


def test_padding_changes_nothing(model):
  batch = segment(make_batch(), 1)
  fill = {
    'sequence': records.PAD,
    'codon_phase': records.PHASE_NONE,
    'amino_acid': records.NO_RESIDUE,
  }
  padded = {
    name: np.pad(x, ((0, 0), (0, 33)), constant_values=fill.get(name, 0))
    for name, x in batch.items()
    if name != 'teacher'
  }
  close(
    encode(model, on_device(padded))[:, :8], encode(model, on_device(batch))
  )


SEQUENCE = np.random.default_rng(0).integers(0, 5, 998).astype(np.uint8)


def in_chunks(model, chunk, context):
  parts = encode_in_chunks(
    encode, model, SEQUENCE, chunk=chunk, context=context
  )
  return np.concatenate(list(parts))


def test_chunks_with_all_the_context_are_as_the_whole(model):
  whole = in_chunks(model, 999, 0)
  assert whole.shape == (333, 32)
  chunks = in_chunks(model, 120, 999)
  assert_close(chunks, whole, dtype=jnp.float32, length=333)


def test_the_context_bounds_what_chunks_lose(model):
  """A state that keeps 1/e a unit: at most e^-c is lost at c units of context.

  Beyond the reach of the local layer (8 units) and of the convolutions (2).
  With slow heads, as at the start of training, far more is lost: then chunks
  are an approximation, and the context its price.
  """
  forgetful = forgetting(model, log_decay=-1.0)
  whole = in_chunks(forgetful, 999, 0)
  size = np.abs(whole).max()
  lost = [
    np.abs(in_chunks(forgetful, 120, 3 * units) - whole).max() / size
    for units in (0, 16, 20)
  ]
  assert lost[0] > 0.1 and lost[1] < np.exp(-6) and lost[2] < np.exp(-10), lost
  slow = in_chunks(model, 120, 60) - in_chunks(model, 999, 0)
  assert np.abs(slow).max() > 100 * lost[2] * size


def forgetting(model, log_decay):
  """The model with one decay for every head and every unit."""
  graph, params = nnx.split(model)
  params = nnx.to_pure_dict(params)
  mixer = params['backbone']['blocks']['layers']['blocks'][0]['mixer']
  mixer['decay']['kernel'] *= 0
  mixer['decay_log_rate'] *= 0
  # softplus(log(e^x - 1)) is x.
  bias = np.log(np.expm1(-log_decay))
  mixer['decay_bias'] = jnp.full_like(mixer['decay_bias'], bias)
  return nnx.merge(graph, params)


def test_lengths_must_be_whole_units(model):
  with pytest.raises(ValueError, match='chunk=100, context=0: give multiples'):
    in_chunks(model, 100, 0)
