"""What passes as the gradient of replacing a vector by its code."""

from typing import Literal

import jax
import jax.numpy as jnp

from backbone.array_types import Array, Float

Estimator = Literal['straight_through', 'rotation']

# Of squared lengths; float32 latents are far above it.
_EPSILON = 1e-12


def straight_through(
  vectors: Float[Array, '... D'], codes: Float[Array, '... D']
) -> Float[Array, '... D']:
  """The codes; their gradient is that of the vectors (arXiv:1711.00937)."""
  return vectors + jax.lax.stop_gradient(codes - vectors)


def rotation(
  vectors: Float[Array, '... D'], codes: Float[Array, '... D']
) -> Float[Array, '... D']:
  """The codes, as vectors that a fixed rotation and scale turned into them.

  The gradient keeps its angle to the code (rotation trick, arXiv:2410.06424,
  section 4.2): with u, v the directions of vector and code and w that of
  u + v, x -> |code| / |vector| (x - 2 w w'x + 2 v u'x).
  """
  from_length, to_length = _length(vectors), _length(codes)
  u = jax.lax.stop_gradient(vectors / from_length)
  v = jax.lax.stop_gradient(codes / to_length)
  w = u + v
  w = w / _length(w)
  turned = (
    vectors
    - 2 * w * (w * vectors).sum(-1, keepdims=True)
    + 2 * v * (u * vectors).sum(-1, keepdims=True)
  )
  return turned * jax.lax.stop_gradient(to_length / from_length)


def _length(x: Float[Array, '... D']) -> Float[Array, '... 1']:
  return jnp.sqrt(jnp.square(x).sum(-1, keepdims=True) + _EPSILON)
