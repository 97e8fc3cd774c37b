"""Inverse of I + A for strictly lower-triangular A, many small ones at once."""

import jax
import jax.numpy as jnp

from backbone.array_types import Array, Float
from backbone.kernels import dispatch
from backbone.kernels.products import pairs, transposed

# Blocks this small are inverted row by row, with the matrices along the lanes;
# a Neumann product would be as fast but loses digits where keys repeat.
_BASE = 8


@jax.custom_vjp
def unit_lower_inverse(
  lower: Float[Array, '*M C C'],
) -> Float[Array, '*M C C']:
  """(I + A)^-1, with the strictly lower-triangular A given and C a power of 2.

  With blocks [[a, 0], [c, b]] the lower-left block of the inverse is
  -b^-1 c a^-1. On CPU the blocks are cut out, recursively; elsewhere, where
  small products cost as much as large ones, they are masked. Only entries below
  the diagonal are read.
  """
  size = lower.shape[-1]
  flat = lower.reshape(-1, size, size)
  invert = _invert if dispatch.platform() == 'cpu' else _invert_masked
  return invert(flat).reshape(lower.shape)


def _forward(lower):
  inverse = unit_lower_inverse(lower)
  return inverse, inverse


def _backward(inverse, cotangent):
  # d(X^-1) = -X^-1 dX X^-1: two products, where autodiff would walk back
  # through every level of the recursion.
  gradient = -pairs(transposed(inverse) @ cotangent, inverse)
  return (jnp.tril(gradient, -1),)


unit_lower_inverse.defvjp(_forward, _backward)


def _invert(lower: Array) -> Array:
  num, size, _ = lower.shape
  if size <= _BASE:
    return _substitute(lower)
  half = size // 2
  corners = [lower[:, :half, :half], lower[:, half:, half:]]
  inverse = _invert(jnp.concatenate(corners))
  first, second = inverse[:num], inverse[num:]
  below = -(second @ lower[:, half:, :half]) @ first
  upper = jnp.concatenate([first, jnp.zeros_like(first)], -1)
  return jnp.concatenate([upper, jnp.concatenate([below, second], -1)], -2)


def _invert_masked(lower: Array) -> Array:
  """Doubles the size of the diagonal blocks until there is one."""
  size = lower.shape[-1]
  block = jnp.arange(size)
  inverse = jnp.broadcast_to(jnp.eye(size, dtype=lower.dtype), lower.shape)
  while size > 1:
    later, block = block, block // 2
    is_pair = (block[:, None] == block) & (later[:, None] > later)
    between = jnp.where(is_pair, lower, 0)
    inverse = inverse - _exactly(inverse, _exactly(between, inverse))
    size //= 2
  return inverse


def _exactly(x: Array, y: Array) -> Array:
  return jnp.matmul(x, y, precision=jax.lax.Precision.HIGHEST)


def _substitute(lower: Array) -> Array:
  by_entry = jnp.moveaxis(lower, 0, -1)
  size = lower.shape[-1]
  identity = jnp.eye(size, dtype=lower.dtype)[:, :, None]
  rows = []
  for i in range(size):
    row = jnp.broadcast_to(identity[i], by_entry.shape[1:])
    for j in range(i):
      row = row - by_entry[i, j] * rows[j]
    rows.append(row)
  return jnp.moveaxis(jnp.stack(rows), -1, 0)
