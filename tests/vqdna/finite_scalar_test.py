"""Finite scalar quantisation against the public implementation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqdna.finite_scalar import FiniteScalar

LEVELS = (8, 5, 4)


def quantise(vectors, levels=LEVELS):
  is_real = jnp.ones(vectors.shape[:2], bool)
  return FiniteScalar(levels)(
    (jnp.asarray(vectors),), (), is_real, jax.random.key(0), train=True
  )


def vectors_of(seed=0):
  return np.random.default_rng(seed).normal(0, 2, (2, 60, 3)).astype('f')


def test_as_vector_quantize_pytorch():
  peer = pytest.importorskip('vector_quantize_pytorch')
  import torch

  vectors = torch.tensor(vectors_of(), requires_grad=True)
  expected, ids = peer.FSQ(list(LEVELS))(vectors)
  expected.square().sum().backward()
  ours = quantise(vectors_of())
  np.testing.assert_allclose(ours.vectors, expected.detach(), rtol=1e-6)
  np.testing.assert_array_equal(ours.ids[0], ids)
  gradient = jax.grad(lambda x: jnp.square(quantise(x).vectors).sum())
  np.testing.assert_allclose(
    gradient(vectors_of()), vectors.grad, rtol=1e-4, atol=1e-6
  )


def test_codes_are_the_vectors_of_their_ids():
  ours = quantise(vectors_of())
  codes = FiniteScalar(LEVELS).codes((), 0)
  np.testing.assert_allclose(codes[ours.ids[0]], ours.vectors, atol=1e-7)


def test_every_code_can_be_reached():
  grid = np.stack(np.meshgrid(*[np.linspace(-9, 9, 90)] * 3), -1)
  ours = quantise(grid.reshape(1, -1, 3).astype('f'))
  assert len(np.unique(ours.ids[0])) == 8 * 5 * 4


def test_wrong_widths_are_refused():
  with pytest.raises(ValueError, match='set the code_width'):
    FiniteScalar(LEVELS).init(16, jax.random.key(0))
  with pytest.raises(ValueError, match='two values or more'):
    FiniteScalar((8, 1))
