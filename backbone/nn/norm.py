"""Root-mean-square normalisation."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from backbone.array_types import Array, Float

# float32 variance of bf16 activations is far above this (LLaMA uses 1e-5/1e-6).
_EPSILON = 1e-6


def _drop_single_row(normalize: Callable[..., Array]) -> Callable[..., Array]:
  """Runs without a batch axis of one row, beside which XLA on CPU sums slowly.

  A sum along the last axis of [1, T, D] takes 35 times as long as one of
  [T, D] (docs/benchmarks.md).
  """

  @functools.wraps(normalize)
  def wrapped(*arguments):
    *module, x = arguments
    if x.ndim > 1 and x.shape[0] == 1:
      return normalize(*module, x[0])[None]
    return normalize(*module, x)

  return wrapped


@_drop_single_row
def l2_normalize(x: Float[Array, '... K']) -> Float[Array, '... K']:
  """x / |x| along the last axis, in float32, back in the type of x."""
  squares = jnp.square(x.astype(jnp.float32)).sum(-1, keepdims=True)
  return (x * jax.lax.rsqrt(squares + _EPSILON)).astype(x.dtype)


class RMSNorm(nnx.Module):
  """x / rms(x) * scale along the last axis, computed in float32."""

  def __init__(self, width: int):
    self.scale = nnx.Param(jnp.ones(width))

  @_drop_single_row
  def __call__(self, x: Float[Array, '... D']) -> Float[Array, '... D']:
    mean = jnp.square(x.astype(jnp.float32)).mean(-1, keepdims=True)
    normal = x * jax.lax.rsqrt(mean + _EPSILON)
    return (normal * self.scale[...]).astype(x.dtype)


class LayerNorm(nnx.Module):
  """(x - mean) / deviation * scale + bias along the last axis, in float32."""

  def __init__(self, width: int, epsilon: float = 1e-5):
    self.scale = nnx.Param(jnp.ones(width))
    self.bias = nnx.Param(jnp.zeros(width))
    self.epsilon = epsilon

  @_drop_single_row
  def __call__(self, x: Float[Array, '... D']) -> Float[Array, '... D']:
    centred = x.astype(jnp.float32)
    centred -= centred.mean(-1, keepdims=True)
    variance = jnp.square(centred).mean(-1, keepdims=True)
    normal = centred * jax.lax.rsqrt(variance + self.epsilon)
    return (normal * self.scale[...] + self.bias[...]).astype(x.dtype)
