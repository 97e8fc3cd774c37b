"""Softmax attention in blocks with an online softmax, in plain XLA operations.

No array of size T x T exists, forward or backward (Dao, arXiv:2307.08691). With
a window only the blocks it touches are visited, so time is linear in length.
"""

import functools

import jax
import jax.numpy as jnp
from einops import rearrange

from backbone.array_types import Array, Float, Int
from backbone.kernels.products import overlap

# Finite, so that a row that has seen nothing yet has no NaN; any real score is
# far above it.
_NOTHING_SEEN = -1e30


def attention(
  query: Float[Array, 'B T H K'],
  key: Float[Array, 'B T H K'],
  value: Float[Array, 'B T H V'],
  segment_ids: Int[Array, 'B T'],
  window: int | None,
  *,
  block_length: int | None = None,
) -> Float[Array, 'B T H V']:
  """`reference.attention`, computed in float32.

  Args:
    block_length: Queries and keys in a block; less where T is less. By
      default 256, or a small window, so that three blocks are visited.
  """
  length = query.shape[1]
  block_length = min(block_length or min(window or 256, 256), length)
  padding = -length % block_length

  def block(x):
    x = jnp.pad(x.astype(jnp.float32), ((0, 0), (0, padding), (0, 0), (0, 0)))
    return rearrange(x, 'b (n c) h k -> n b h c k', c=block_length)

  # Padding is a segment of its own: no real query sees it.
  segments = jnp.pad(segment_ids, ((0, 0), (0, padding)), constant_values=-1)
  segments = rearrange(segments, 'b (n c) -> n b c', c=block_length)
  query = query * query.shape[-1] ** -0.5
  output = _attend(window, block(query), block(key), block(value), segments)
  output = rearrange(output, 'n b h c v -> b (n c) h v')[:, :length]
  return output.astype(value.dtype)


def _tie(x: Array, segments: Array) -> tuple[Array, Array]:
  """Makes `segments` look as if it depended on `x`.

  Else JAX evaluates ahead, and stores, what depends on segments alone when it
  differentiates a scan over layers: every mask, an array of T x T.
  """
  return jax.lax.optimization_barrier((x, segments))


def _visited(window: int | None, num: int, length: int, row: Array) -> Array:
  """Indices of the key blocks that query block `row` may see; -1, num: none."""
  if window is None:
    return jnp.arange(num)
  reach = min(-(-window // length), num - 1)
  return jnp.clip(row + jnp.arange(-reach, reach + 1), -1, num)


def _scores(window, query, row, key, column, segments):
  """Scores [B H C C] and what is visible of them, for one pair of blocks."""
  num, _, length = segments.shape
  is_visible = segments[row][:, :, None] == segments[column][:, None, :]
  is_visible &= (column >= 0) & (column < num)
  if window is not None:
    position = jnp.arange(length)
    distance = position[:, None] - position[None, :] + (row - column) * length
    is_visible &= jnp.abs(distance) <= window
  return query @ jnp.swapaxes(key, -1, -2), is_visible[:, None]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(window, query, key, value, segments):
  return _attend_forward(window, query, key, value, segments)[0]


def _attend_forward(
  window: int | None,
  query: Float[Array, 'N B H C K'],
  key: Float[Array, 'N B H C K'],
  value: Float[Array, 'N B H C V'],
  segments: Int[Array, 'N B C'],
):
  num, length = query.shape[0], query.shape[3]
  query, segments = _tie(query, segments)

  def row_of_blocks(inputs):
    row, q = inputs

    def step(carry, column):
      highest, total, sum_values = carry
      scores, is_visible = _scores(
        window, q, row, key[column], column, segments
      )
      scores = jnp.where(is_visible, scores, _NOTHING_SEEN)
      now = jnp.maximum(highest, jnp.max(scores, -1, keepdims=True))
      weight = jnp.where(is_visible, jnp.exp(scores - now), 0)
      shrink = jnp.exp(highest - now)
      total = total * shrink + jnp.sum(weight, -1, keepdims=True)
      return (now, total, sum_values * shrink + weight @ value[column]), None

    shape = (*q.shape[:-1], 1)
    start = (
      jnp.full(shape, _NOTHING_SEEN),
      jnp.zeros(shape),
      jnp.zeros((*q.shape[:-1], value.shape[-1])),
    )
    columns = _visited(window, num, length, row)
    (highest, total, sum_values), _ = jax.lax.scan(step, start, columns)
    return sum_values / total, highest + jnp.log(total)

  output, log_total = jax.lax.map(row_of_blocks, (jnp.arange(num), query))
  return output, (query, key, value, segments, output, log_total)


def _attend_backward(window, residuals, d_output):
  query, key, value, segments, output, log_total = residuals
  num, length = query.shape[0], query.shape[3]
  d_output, segments = _tie(d_output, segments)
  # Σ_s p_s dp_s of a query equals o·do, which needs no second pass.
  shared = jnp.sum(output * d_output, -1, keepdims=True)

  def row_of_blocks(carry, inputs):
    row, q, do, log_total, shared = inputs

    def step(carry, column):
      dq, dk, dv = carry
      k, v = key[column], value[column]
      scores, is_visible = _scores(window, q, row, k, column, segments)
      # Masked before the exponential, so that no infinity meets a zero.
      weight = jnp.exp(jnp.where(is_visible, scores - log_total, -jnp.inf))
      d_scores = weight * (do @ jnp.swapaxes(v, -1, -2) - shared)
      dk = dk.at[column].add(overlap(d_scores, q))
      dv = dv.at[column].add(overlap(weight, do))
      return (dq + d_scores @ k, dk, dv), None

    columns = _visited(window, num, length, row)
    start = (jnp.zeros_like(q), *carry)
    (dq, *carry), _ = jax.lax.scan(step, start, columns)
    return tuple(carry), dq

  inputs = (jnp.arange(num), query, d_output, log_total, shared)
  start = (jnp.zeros_like(key), jnp.zeros_like(value))
  (dk, dv), dq = jax.lax.scan(row_of_blocks, start, inputs)
  return dq, dk, dv, None


_attend.defvjp(_attend_forward, _attend_backward)
