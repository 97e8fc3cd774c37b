"""The stage 1 network: reach, segments, sizes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from backbone import sharding
from vqdna.network import NUM_CHANNELS, Decoder, Encoder, NetworkConfig

TINY = NetworkConfig(stem_width=8, width=12, num_blocks=2, taps=(1, 2))


def one_hot(length, seed=0):
  bases = np.random.default_rng(seed).integers(0, 4, (2, length))
  return jax.nn.one_hot(bases, NUM_CHANNELS)


@pytest.mark.parametrize('stride', [1, 3])
def test_lengths_and_taps(stride):
  config = dataclasses.replace(TINY, token_stride=stride)
  segment_ids = jnp.ones((2, 30), int)
  taps = Encoder(config, key=jax.random.key(0))(one_hot(30), segment_ids)
  assert [tap.shape for tap in taps] == [(2, 30 // stride, 12)] * 2
  scores = Decoder(config, key=jax.random.key(1))(taps[-1], segment_ids)
  assert scores.shape == (2, 30, 4)


def test_a_token_reaches_as_far_as_said():
  encoder = Encoder(TINY, key=jax.random.key(0))
  segment_ids = jnp.ones((2, 61), int)
  x = one_hot(61)
  changed = x.at[:, 30].set(1.0 - x[:, 30])
  before, after = (encoder(y, segment_ids)[-1] for y in (x, changed))
  moved = np.flatnonzero(np.abs(before - after).max((0, 2)) > 0)
  assert (moved.min(), moved.max()) == (30 - TINY.reach, 30 + TINY.reach)


def test_nothing_crosses_a_segment_border():
  encoder = Encoder(TINY, key=jax.random.key(0))
  decoder = Decoder(TINY, key=jax.random.key(1))
  x = one_hot(30)
  segment_ids = jnp.asarray([[1] * 12 + [2] * 18] * 2)

  def both(x, segment_ids):
    return decoder(encoder(x, segment_ids)[-1], segment_ids)

  together = both(x, segment_ids)
  alone = both(x[:, 12:], segment_ids[:, 12:])
  np.testing.assert_allclose(together[:, 12:], alone, rtol=1e-5, atol=1e-5)


def test_the_published_size():
  """Said to be 16 M with 512 codes (arXiv:2405.10812)."""
  config = NetworkConfig()
  sizes = [
    sum(leaf.size for leaf in jax.tree.leaves(nnx.state(made)))
    for made in (
      nnx.eval_shape(lambda: Encoder(config, key=jax.random.key(0))),
      nnx.eval_shape(lambda: Decoder(config, key=jax.random.key(0))),
    )
  ]
  assert sum(sizes) + 512 * config.width == 15_413_380
  assert config.reach == 22


@pytest.mark.parametrize('stride', [1, 3])
def test_every_parameter_has_a_place(stride):
  config = dataclasses.replace(TINY, token_stride=stride)
  mesh = sharding.make_mesh(data=2, seq=2, model=2)
  for part in (Encoder, Decoder):
    made = nnx.eval_shape(lambda part=part: part(config, key=jax.random.key(0)))
    sharding.param_specs(nnx.state(made), mesh)


def test_taps_that_do_not_fit_are_refused():
  with pytest.raises(ValueError, match=r'taps \(3, 5\)'):
    NetworkConfig(taps=(3, 5))
  with pytest.raises(ValueError, match=r'taps \(\)'):
    NetworkConfig(taps=())
  with pytest.raises(ValueError, match='token_stride 2'):
    NetworkConfig(token_stride=2)
  with pytest.raises(ValueError, match='must be odd'):
    NetworkConfig(block_size=6)
