"""Sections among words."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from gta.alignment import Alignment, AlignmentConfig

CONFIG = AlignmentConfig(
  feature_width=12, width=16, num_prototypes=20, num_heads=2, key_width=8
)
ARMS = {
  'learned': {},
  'mapped': {'prototypes': 'mapped'},
  'random': {'prototypes': 'random'},
  'linear': {'aligner': 'linear'},
}
EVERY = pytest.mark.parametrize('arm', ARMS)


def _words(size=0.02):
  return size * jax.random.normal(jax.random.key(5), (50, 24))


def _made(arm, words=None):
  config = dataclasses.replace(CONFIG, **ARMS[arm])
  words = _words() if words is None else words
  return Alignment(config, words, key=jax.random.key(0))


def _inputs(seed=0):
  rng = np.random.default_rng(seed)
  sections = jnp.asarray(rng.normal(size=(3, 7, 12)), jnp.float32)
  distance = jnp.asarray(rng.normal(size=(3, 7)) * 5_000, jnp.float32)
  return sections, distance


@EVERY
@pytest.mark.parametrize('size', [0.02, 3.0])
def test_tokens_start_with_the_size_of_words(arm, size):
  words = _words(size)
  aligned = _made(arm, words)(*_inputs(), words)
  assert aligned.tokens.shape == (3, 7, 24)
  found = np.sqrt(np.square(aligned.tokens).mean(-1))
  wanted = np.sqrt(np.square(words).mean(-1)).mean()
  np.testing.assert_allclose(found, wanted, rtol=1e-3)


@EVERY
def test_weights_are_of_prototypes_and_sum_to_one(arm):
  aligned = _made(arm)(*_inputs(), _words())
  if arm == 'linear':
    assert aligned.weights is None
    return
  assert aligned.weights.shape == (3, 2, 7, 20)
  np.testing.assert_allclose(aligned.weights.sum(-1), 1, rtol=1e-5)


@EVERY
def test_what_is_drawn_is_trained_and_words_are_not_copied(arm):
  made = _made(arm)
  graph, state = nnx.split(made)
  words = _words()

  def loss(state):
    tokens = nnx.merge(graph, state)(*_inputs(), words).tokens
    return jnp.sum(jnp.sin(9 * tokens))

  gradient = jax.grad(loss)(state)
  assert all(leaf.any() for leaf in jax.tree.leaves(gradient))
  sizes = {'learned': (20, 24), 'mapped': (50, 20)}
  prototypes = made.prototypes
  assert (None if prototypes is None else prototypes.shape) == sizes.get(arm)


def test_learned_prototypes_start_as_words():
  words = np.asarray(_words())
  for row in np.asarray(_made('learned').prototypes[...]):
    assert (row == words).all(-1).any()


def test_mapped_prototypes_are_mixtures_of_words():
  """As a product by hand."""
  made, words = _made('mapped'), _words()
  wanted = np.asarray(made.prototypes[...]).T @ np.asarray(words)
  np.testing.assert_allclose(made._prototypes(words), wanted, atol=1e-6)


@EVERY
def test_place_counts(arm):
  made = _made(arm)
  sections, distance = _inputs()
  here = made(sections, distance, _words()).tokens
  there = made(sections, -distance, _words()).tokens
  assert not np.allclose(here, there, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
  'change',
  [{'prototypes': 'frozen'}, {'aligner': 'none'}, {'num_prototypes': 0}],
)
def test_settings_that_are_none_are_refused(change):
  with pytest.raises((ValueError, TypeError), match=next(iter(change))):
    dataclasses.replace(CONFIG, **change)
