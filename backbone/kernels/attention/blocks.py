"""How attention is cut into blocks, and what a block of queries visits."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange

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
    """On a CPU, scores that fit in its cache, of two heads or more; else all.

    Measured on two cores with 1 MiB of L2 each, 512 to 8,192 tokens.
    """
    if dispatch.platform() != 'cpu':
      return cls(num_heads, queries=256, keys=1_024)
    keys = min(length, 2_048)
    queries = min(max(2**17 // keys, 128), 512, length)
    most = max(2**18 // (queries * keys), 2)
    divisors = (n for n in range(1, num_heads + 1) if num_heads % n == 0)
    return cls(max(n for n in divisors if n <= most), queries, keys)


class Sequences(NamedTuple):
  """What attends, every head of every row for itself; float32."""

  query: Float[Array, 'N T K']
  key: Float[Array, 'N S K']
  value: Float[Array, 'N S V']
  query_segments: Int[Array, 'N T']
  key_segments: Int[Array, 'N S']


@dataclasses.dataclass(frozen=True)
class Spans:
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


def cut_queries(blocks: Blocks, *arrays: Array) -> list[Array]:
  """[N T ...] as [groups, blocks of queries, heads, queries, ...]."""
  queries = min(blocks.queries, arrays[0].shape[1])
  padding = -arrays[0].shape[1] % queries

  def cut(x):
    x = jnp.pad(x, ((0, 0), (0, padding)) + ((0, 0),) * (x.ndim - 2))
    shape = '(m g) (n c) ... -> m n g c ...'
    return rearrange(x, shape, g=blocks.heads, c=queries)

  return [cut(x) for x in arrays]


def blocked(inputs, window, blocks, offset):
  """`inputs` in groups of heads, queries in blocks, keys padded for spans."""
  # Segments seem to depend on queries. Else JAX evaluates ahead, and stores,
  # what depends on segments alone when it differentiates a scan over layers:
  # every mask, an array of T x T.
  inputs = jax.lax.optimization_barrier(inputs)
  # Ids are 0 or more: no query sees a padded key, and no padded query any.
  segments = inputs.query_segments + 1
  query, segments = cut_queries(blocks, inputs.query, segments)
  num_rows, num_queries = query.shape[1], query.shape[3]
  num_keys = inputs.key.shape[1]
  spans = Spans.plan(num_queries, num_keys, window, blocks.keys, offset)
  padding = spans.padding(num_rows, num_keys)

  def group(x, fill=0):
    shape = ((0, 0), padding) + ((0, 0),) * (x.ndim - 2)
    x = jnp.pad(x, shape, constant_values=fill)
    return rearrange(x, '(m g) s ... -> m g s ...', g=blocks.heads)

  keys = group(inputs.key), group(inputs.value)
  key_segments = group(inputs.key_segments + 1, -1)
  return Sequences(query, *keys, segments, key_segments), spans
