"""Softmax attention with the whole score matrix: the specification."""

import jax
import jax.numpy as jnp

from backbone.array_types import Array, Float, Int


def attention(
  query: Float[Array, 'B T H K'],
  key: Float[Array, 'B T H K'],
  value: Float[Array, 'B T H V'],
  segment_ids: Int[Array, 'B T'],
  window: int | None,
) -> Float[Array, 'B T H V']:
  """softmax(q kᵀ / sqrt(K)) v within a segment, and within `window` tokens."""
  dtype = jnp.promote_types(query.dtype, jnp.float32)
  q, k, v = (x.astype(dtype) for x in (query, key, value))
  scores = jnp.einsum('bthk,bshk->bhts', q, k) * q.shape[-1] ** -0.5
  is_visible = segment_ids[:, :, None] == segment_ids[:, None, :]
  if window is not None:
    position = jnp.arange(query.shape[1])
    is_visible &= jnp.abs(position[:, None] - position[None, :]) <= window
  scores = jnp.where(is_visible[:, None], scores, -jnp.inf)
  output = jnp.einsum('bhts,bshv->bthv', jax.nn.softmax(scores), v)
  return output.astype(value.dtype)
