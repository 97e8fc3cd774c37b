"""Softmax attention by cuDNN, through `jax.nn.dot_product_attention`.

Not run on hardware, and lowered only where a GPU is: JAX asks cuDNN for its
version.
"""

import jax
import jax.numpy as jnp

from backbone.array_types import Array, Float, Int
from backbone.kernels import dispatch

_TYPES = (jnp.bfloat16, jnp.float16)


def attention(
  query: Float[Array, 'B T H K'],
  key: Float[Array, 'B T H K'],
  value: Float[Array, 'B T H V'],
  segment_ids: Int[Array, 'B T'],
  window: int | None,
) -> Float[Array, 'B T H V']:
  """`reference.attention`; sums in float32.

  cuDNN takes segments, and a window to both sides, only as a mask: an array
  of B x T x T, so memory grows with the square of the length.

  Raises:
    NotImplementedError: On a platform without cuDNN, and for what it does not
      take: float32, or keys and values of different widths.
  """
  platform = dispatch.platform()
  if platform != 'gpu':
    raise NotImplementedError(f"'cudnn' does not run on {platform}")
  if query.dtype not in _TYPES:
    raise NotImplementedError(f"'cudnn' does not take {query.dtype}")
  if value.shape[-1] != key.shape[-1]:
    raise NotImplementedError("'cudnn' takes values as wide as keys")
  length = query.shape[1]
  # Its backward pass takes even lengths only; padding is its own segment.
  padding = length % 2
  query, key, value = (
    jnp.pad(x, ((0, 0), (0, padding), (0, 0), (0, 0)))
    for x in (query, key, value)
  )
  segments = jnp.pad(segment_ids, ((0, 0), (0, padding)), constant_values=-1)
  mask = segments[:, None, :, None] == segments[:, None, None, :]
  if window is not None:
    position = jnp.arange(length + padding)
    mask &= jnp.abs(position[:, None] - position[None, :]) <= window
  output = jax.nn.dot_product_attention(
    query, key, value, mask=mask, implementation='cudnn'
  )
  return output[:, :length]
