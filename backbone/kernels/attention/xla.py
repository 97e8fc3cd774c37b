"""Softmax attention in blocks with an online softmax, in plain XLA operations.

No array of size T x T exists, forward or backward (Dao, arXiv:2307.08691). With
a window only the keys it reaches are visited, so time is linear in length.

Scores lie as keys x queries: softmax then sums along the major axis, which
vectorises, and the left operand of every product has its contracted axis last,
which XLA on CPU wants (docs/benchmarks.md).
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange, repeat

from backbone.array_types import Array, Float, Int
from backbone.kernels import dispatch

# Finite, so that a query that has seen nothing yet has no NaN; any real score
# is far above it, and what was summed before the first one shrinks to zero.
NOTHING_SEEN = -1e30


@dataclasses.dataclass(frozen=True)
class Blocks:
  """What is computed at once; 'heads' are those of all rows.

  Attributes:
    heads: A divisor of their number.
    queries: Tokens; less where the sequence is shorter.
    keys: Tokens, at most.
  """

  heads: int
  queries: int
  keys: int

  @classmethod
  def by_default(cls, num_heads: int, length: int) -> 'Blocks':
    """On a CPU, scores that fit in the cache of a core; else every head."""
    if dispatch.platform() != 'cpu':
      return cls(num_heads, queries=256, keys=1_024)
    queries, keys = 128, 2_048
    many = 2**18 // (min(length, queries) * min(length, keys))
    divisors = (n for n in range(1, num_heads + 1) if num_heads % n == 0)
    return cls(max(n for n in divisors if n <= max(many, 1)), queries, keys)


class Sequences(NamedTuple):
  """What attends, every head of every row for itself; float32."""

  query: Float[Array, 'N T K']
  key: Float[Array, 'N S K']
  value: Float[Array, 'N S V']
  query_segments: Int[Array, 'N T']
  key_segments: Int[Array, 'N S']


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
  inputs, spans = _blocked(inputs, window, blocks, offset)

  def one_group(inputs):
    transposed = jnp.swapaxes(inputs.value, -1, -2)

    def one_row(row):
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

      one = (query.shape[0], 1, query.shape[1])
      begin = (
        jnp.full(one, NOTHING_SEEN),
        jnp.zeros(one),
        jnp.zeros((one[0], transposed.shape[-2], one[2])),
      )
      carry, _ = jax.lax.scan(step, begin, jnp.arange(spans.count))
      highest, total, sum_values = carry
      return sum_values / total, highest + jnp.log(total)

    rows = jnp.arange(inputs.query.shape[0])
    return jax.lax.map(one_row, (rows, inputs.query, inputs.query_segments))

  output, log_total = jax.lax.map(one_group, inputs)
  output = rearrange(output, 'm n g v c -> (m g) (n c) v')
  log_total = rearrange(log_total, 'm n g 1 c -> (m g) (n c)')
  return output[:, :length], log_total[:, :length]


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
  per_query = _rows(blocks, log_total, shared, d_output)
  inputs, spans = _blocked(inputs, window, blocks, offset)

  def one_group(group):
    inputs, per_query = group
    transposed = jnp.swapaxes(inputs.key, -1, -2)

    def one_row(carry, row):
      index, query, segments, (log_total, shared, d_output) = row

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

    rows = jnp.arange(inputs.query.shape[0])
    begin = jnp.zeros_like(inputs.key), jnp.zeros_like(inputs.value)
    rows = (rows, inputs.query, inputs.query_segments, per_query)
    (dk, dv), dq = jax.lax.scan(one_row, begin, rows)
    return dq, dk, dv

  dq, dk, dv = jax.lax.map(one_group, (inputs, per_query))
  dq = rearrange(dq, 'm n g k c -> (m g) (n c) k')[:, :length]
  seen = slice(spans.before, spans.before + num_keys)
  return dq, *(rearrange(d, 'm g s k -> (m g) s k')[:, seen] for d in (dk, dv))


@dataclasses.dataclass(frozen=True)
class _Spans:
  """Which keys a block of queries visits: `count` spans of `size` keys.

  Attributes:
    before: Keys of padding in front.
    stride: How far the first span moves from one block to the next.
  """

  window: int | None
  offset: Int[Array, ''] | int
  before: int
  stride: int
  size: int
  count: int

  @classmethod
  def plan(cls, num_queries, num_keys, window, longest, offset):
    """For blocks of `num_queries`, and spans of `longest` keys at most."""
    reached = num_queries + 2 * (window or 0)
    is_local = window is not None and offset is None and reached < num_keys
    extent = reached if is_local else num_keys
    count = -(-extent // longest)
    return cls(
      window,
      0 if offset is None else offset,
      before=window if is_local else 0,
      stride=num_queries if is_local else 0,
      size=-(-extent // count),
      count=count,
    )

  def padding(self, num_rows: int, num_keys: int) -> tuple[int, int]:
    """Keys before and after, so that every span of every block exists."""
    end = (num_rows - 1) * self.stride + self.count * self.size
    return self.before, max(end - self.before - num_keys, 0)

  def here(self, x: Array, start: Array, axis: int = -2) -> Array:
    """The span from `start` on; all of `x`, without a copy, if it is one."""
    if self.size == x.shape[axis]:
      return x
    return jax.lax.dynamic_slice_in_dim(x, start, self.size, axis)

  def added(self, x: Array, change: Array, start: Array) -> Array:
    """`x` with `change` added to the span from `start` on."""
    change += self.here(x, start)
    return jax.lax.dynamic_update_slice_in_dim(x, change, start, axis=-2)

  def scores(self, inputs, query, segments, index, start):
    """[G size C], of keys from `start` on and queries of block `index`."""
    keys = self.here(inputs.key, start)
    key_segments = self.here(inputs.key_segments, start, axis=-1)
    is_visible = key_segments[:, :, None] == segments[:, None, :]
    if self.window is not None:
      length = query.shape[1]
      row = jnp.arange(length) + index * length + self.offset
      column = jnp.arange(self.size) + start - self.before
      is_visible &= jnp.abs(column[:, None] - row) <= self.window
    scores = keys @ jnp.swapaxes(query, -1, -2)
    return jnp.where(is_visible, scores, NOTHING_SEEN)


def _rows(blocks: Blocks, *arrays: Array) -> list[Array]:
  """[N T ...] as [groups, blocks of queries, heads, queries, ...]."""
  queries = min(blocks.queries, arrays[0].shape[1])
  padding = -arrays[0].shape[1] % queries

  def cut(x):
    x = jnp.pad(x, ((0, 0), (0, padding)) + ((0, 0),) * (x.ndim - 2))
    shape = '(m g) (n c) ... -> m n g c ...'
    return rearrange(x, shape, g=blocks.heads, c=queries)

  return [cut(x) for x in arrays]


def _blocked(inputs, window, blocks, offset):
  """`inputs` in groups of heads, queries in blocks, keys padded for spans."""
  # Segments seem to depend on queries. Else JAX evaluates ahead, and stores,
  # what depends on segments alone when it differentiates a scan over layers:
  # every mask, an array of T x T.
  inputs = jax.lax.optimization_barrier(inputs)
  # Ids are 0 or more: no query sees a padded key, and no padded query any.
  segments = inputs.query_segments + 1
  query, segments = _rows(blocks, inputs.query, segments)
  num_rows, num_queries = query.shape[1], query.shape[3]
  num_keys = inputs.key.shape[1]
  spans = _Spans.plan(num_queries, num_keys, window, blocks.keys, offset)
  padding = spans.padding(num_rows, num_keys)

  def group(x, fill=0):
    shape = ((0, 0), padding) + ((0, 0),) * (x.ndim - 2)
    x = jnp.pad(x, shape, constant_values=fill)
    return rearrange(x, '(m g) s ... -> m g s ...', g=blocks.heads)

  keys = group(inputs.key), group(inputs.value)
  key_segments = group(inputs.key_segments + 1, -1)
  return Sequences(query, *keys, segments, key_segments), spans
