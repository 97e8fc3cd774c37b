"""x * scale + offset, of channels, with gradients that are products.

XLA on CPU is slow to add up over rows what it has fused with a gelu; a product
with ones adds the same numbers, and halves the time of the whole block's
gradient (docs/benchmarks.md).
"""

import jax
import jax.numpy as jnp

from backbone.array_types import Array, Float


@jax.custom_vjp
def affine(
  x: Float[Array, '*B C'], scale: Float[Array, 'C'], offset: Float[Array, 'C']
) -> Float[Array, '*B C']:
  """Every channel of every row on its own scale, from its own zero."""
  return x * scale + offset


def _affine_forward(x, scale, offset):
  return x * scale + offset, (x, scale)


def _affine_backward(kept, gradient):
  x, scale = kept
  return gradient * scale, _total(gradient * x), _total(gradient)


affine.defvjp(_affine_forward, _affine_backward)


@jax.custom_vjp
def add_bias(
  x: Float[Array, '*B C'], offset: Float[Array, 'C']
) -> Float[Array, '*B C']:
  """Every channel of every row from its own zero."""
  return x + offset


def _add_bias_forward(x, offset):
  return x + offset, None


def _add_bias_backward(kept, gradient):
  del kept
  return gradient, _total(gradient)


add_bias.defvjp(_add_bias_forward, _add_bias_backward)


def _total(x: Float[Array, '*B C']) -> Float[Array, 'C']:
  """Over all rows."""
  rows = x.reshape(-1, x.shape[-1])
  return jnp.ones(len(rows), x.dtype) @ rows
