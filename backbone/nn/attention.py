"""Softmax attention layer with rotary positions."""

import jax.numpy as jnp
from flax import nnx

from backbone import sharding
from backbone.array_types import Array, Float, Int
from backbone.kernels.attention.api import attention
from backbone.nn.linear import Linear


def rotate(
  x: Float[Array, 'B T H K'], positions: Int[Array, 'B T'], base: float
) -> Float[Array, 'B T H K']:
  """Rotary position embedding (Su et al., arXiv:2104.09864), halves paired."""
  half = x.shape[-1] // 2
  frequency = base ** (-jnp.arange(half, dtype=jnp.float32) / half)
  angle = positions[:, :, None, None] * frequency
  cosine, sine = jnp.cos(angle), jnp.sin(angle)
  first, second = x[..., :half], x[..., half:]
  turned = (first * cosine - second * sine, second * cosine + first * sine)
  return jnp.concatenate(turned, axis=-1).astype(x.dtype)


class Attention(nnx.Module):
  """Bidirectional multi-head attention within segments, 4 D² weights."""

  def __init__(
    self,
    width: int,
    num_heads: int,
    *,
    window: int | None,
    rope_base: float,
    implementation: str | None,
    rngs: nnx.Rngs,
  ):
    heads = (num_heads, width // num_heads)
    self.heads_in = Linear(width, (num_heads, 3 * heads[1]), rngs=rngs)
    self.heads_out = Linear(heads, width, rngs=rngs)
    self.window = window
    self.rope_base = rope_base
    self.implementation = implementation

  def __call__(
    self,
    x: Float[Array, 'B T D'],
    segment_ids: Int[Array, 'B T'],
    positions: Int[Array, 'B T'],
  ) -> Float[Array, 'B T D']:
    query, key, value = jnp.split(self.heads_in(x), 3, axis=-1)
    output = attention(
      rotate(query, positions, self.rope_base),
      rotate(key, positions, self.rope_base),
      value,
      segment_ids=segment_ids,
      window=self.window,
      implementation=self.implementation,
      partition=sharding.partition(query.shape[:3], 'batch', 'length', 'heads'),
    )
    return self.heads_out(output)
