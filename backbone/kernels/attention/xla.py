"""Softmax attention in blocks with an online softmax, in plain XLA operations.

No array of size T x T exists, forward or backward (Dao, arXiv:2307.08691). With
a window only the keys it reaches are visited, so time is linear in length.

Scores lie as keys x queries: softmax then sums along the major axis, which
vectorises, and the left operand of every product has its contracted axis last,
which XLA on CPU wants (docs/benchmarks.md).
"""

import functools

import jax
import jax.numpy as jnp
from einops import rearrange, repeat

from backbone.array_types import Array, Float, Int
from backbone.kernels.attention.blocks import (
  NOTHING_SEEN,
  Blocks,
  Sequences,
  blocked,
  cut_queries,
)


def attention(
  query: Float[Array, 'B T H K'],
  key: Float[Array, 'B T H K'],
  value: Float[Array, 'B T H V'],
  segment_ids: Int[Array, 'B T'],
  window: int | None,
  *,
  blocks: Blocks | None = None,
) -> Float[Array, 'B T H V']:
  """`reference.attention`, computed in float32.

  Args:
    blocks: By default `Blocks.by_default`.
  """
  batch, length, num_heads, _ = query.shape
  blocks = blocks or Blocks.by_default(batch * num_heads, length)
  output = _attend(
    window,
    blocks,
    by_head(query) * query.shape[-1] ** -0.5,
    by_head(key),
    by_head(value),
    repeat(segment_ids, 'b t -> (b h) t', h=num_heads),
  )
  output = rearrange(output, '(b h) t v -> b t h v', b=batch)
  return output.astype(value.dtype)


def by_head(x: Float[Array, 'B T H K']) -> Float[Array, 'B*H T K']:
  """In float32, every head of every row on the leading axis."""
  return rearrange(x.astype(jnp.float32), 'b t h k -> (b h) t k')


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _attend(window, blocks, query, key, value, segments):
  inputs = Sequences(query, key, value, segments, segments)
  return forward(inputs, window, blocks)[0]


def _attend_forward(window, blocks, query, key, value, segments):
  inputs = Sequences(query, key, value, segments, segments)
  output, log_total = forward(inputs, window, blocks)
  return output, (query, key, value, segments, output, log_total)


def _attend_backward(window, blocks, residuals, d_output):
  *arrays, segments, output, log_total = residuals
  inputs = Sequences(*arrays, segments, segments)
  shared = jnp.sum(output * d_output, -1)
  gradients = backward(inputs, log_total, shared, d_output, window, blocks)
  return *gradients, None


_attend.defvjp(_attend_forward, _attend_backward)


def forward(
  inputs: Sequences,
  window: int | None,
  blocks: Blocks,
  offset: Int[Array, ''] | None = None,
) -> tuple[Float[Array, 'N T V'], Float[Array, 'N T']]:
  """Attention of queries that are scaled already.

  Args:
    offset: Position of the first query less that of the first key; None: 0.

  Returns:
    The output, and log Σ exp(score) of each query. A query that sees nothing
    has an arbitrary finite output and a logarithm near -1e30.
  """
  length = inputs.query.shape[1]
  inputs, spans = blocked(inputs, window, blocks, offset)

  def one_group(inputs):
    transposed = jnp.swapaxes(inputs.value, -1, -2)
    one_row = functools.partial(_forward_row, spans, inputs, transposed)
    index = jnp.arange(inputs.query.shape[0])
    return jax.lax.map(one_row, (index, inputs.query, inputs.query_segments))

  output, log_total = jax.lax.map(one_group, inputs)
  output = rearrange(output, 'm n g v c -> (m g) (n c) v')
  log_total = rearrange(log_total, 'm n g 1 c -> (m g) (n c)')
  return output[:, :length], log_total[:, :length]


def _forward_row(spans, inputs, transposed, row):
  """[G V C] and [G 1 C] of a block of queries; `transposed` are the values."""
  index, query, segments = row

  def step(carry, span):
    highest, total, sum_values = carry
    start = spans.stride * index + spans.size * span
    scores = spans.scores(inputs, query, segments, index, start)
    now = jnp.maximum(highest, jnp.max(scores, -2, keepdims=True))
    weight = jnp.exp(scores - now)
    shrink = jnp.exp(highest - now)
    total = total * shrink + jnp.sum(weight, -2, keepdims=True)
    values = spans.here(transposed, start, axis=-1)
    return (now, total, sum_values * shrink + values @ weight), None

  num_heads, num_queries, _ = query.shape
  begin = (
    jnp.full((num_heads, 1, num_queries), NOTHING_SEEN),
    jnp.zeros((num_heads, 1, num_queries)),
    jnp.zeros((num_heads, transposed.shape[-2], num_queries)),
  )
  carry, _ = jax.lax.scan(step, begin, jnp.arange(spans.count))
  highest, total, sum_values = carry
  return sum_values / total, highest + jnp.log(total)


def backward(
  inputs: Sequences,
  log_total: Float[Array, 'N T'],
  shared: Float[Array, 'N T'],
  d_output: Float[Array, 'N T V'],
  window: int | None,
  blocks: Blocks,
  offset: Int[Array, ''] | None = None,
) -> tuple[Float[Array, 'N T K'], Float[Array, 'N S K'], Float[Array, 'N S V']]:
  """Gradients of query, key and value.

  Args:
    log_total: Of every key that a query sees, here or elsewhere.
    shared: Σ_s p_s dp_s of each query, which equals o·do.
  """
  length, num_keys = inputs.query.shape[1], inputs.key.shape[1]
  per_query = cut_queries(blocks, log_total, shared, d_output)
  inputs, spans = blocked(inputs, window, blocks, offset)

  def one_group(group):
    inputs, per_query = group
    transposed = jnp.swapaxes(inputs.key, -1, -2)
    one_row = functools.partial(_backward_row, spans, inputs, transposed)
    begin = jnp.zeros_like(inputs.key), jnp.zeros_like(inputs.value)
    index = jnp.arange(inputs.query.shape[0])
    rows = (index, inputs.query, inputs.query_segments, *per_query)
    (dk, dv), dq = jax.lax.scan(one_row, begin, rows)
    return dq, dk, dv

  dq, dk, dv = jax.lax.map(one_group, (inputs, per_query))
  dq = rearrange(dq, 'm n g k c -> (m g) (n c) k')[:, :length]
  seen = slice(spans.before, spans.before + num_keys)
  return dq, *(rearrange(d, 'm g s k -> (m g) s k')[:, seen] for d in (dk, dv))


def _backward_row(spans, inputs, transposed, carry, row):
  """Adds to dk and dv, and gives dq [G K C]; `transposed` are the keys."""
  index, query, segments, log_total, shared, d_output = row

  def step(carry, span):
    dq, dk, dv = carry
    start = spans.stride * index + spans.size * span
    scores = spans.scores(inputs, query, segments, index, start)
    weight = jnp.exp(scores - log_total[:, None])
    values = spans.here(inputs.value, start)
    d_weight = values @ jnp.swapaxes(d_output, -1, -2)
    d_scores = weight * (d_weight - shared[:, None])
    dq += spans.here(transposed, start, axis=-1) @ d_scores
    dk = spans.added(dk, d_scores @ query, start)
    dv = spans.added(dv, weight @ d_output, start)
    return (dq, dk, dv), None

  begin = (jnp.zeros_like(jnp.swapaxes(query, -1, -2)), *carry)
  (dq, *carry), _ = jax.lax.scan(step, begin, jnp.arange(spans.count))
  return tuple(carry), dq
