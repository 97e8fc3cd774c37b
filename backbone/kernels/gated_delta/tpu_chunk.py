"""One chunk of the gated delta rule on a TPU core, forward and backward.

README.md of this folder derives it. A function that waits for products is a
generator that yields meanwhile, so that `interleave` can put the work of other
heads there: the TPU's scheduler moves instructions little from where the
program has them.
"""

from collections.abc import Generator, Iterable
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from backbone.array_types import Array, Bool, Float

# Rows of the tile of gates: one number a token, tokens along the lanes. The
# sum of the log decays so far is COARSE + FINE (`pallas_tpu._tile`).
COARSE, FINE, BETA, RUN, IS_CARRIED, IS_KEPT, IS_WHOLE = range(7)
NUM_ROWS = 8

# Diagonal blocks of this size are inverted by substitution.
_BASE = 16

_PLAIN = ((1,), (0,))
_RIGHT_TRANSPOSED = ((1,), (1,))
_LEFT_TRANSPOSED = ((0,), (0,))


class Gates(NamedTuple):
  """What the gates of a chunk come to, in float32."""

  decay: Float[Array, 'C C']  # exp(total_i - total_j) where i sees j, else 0
  before: Float[Array, 'C C']  # the same without the diagonal
  beta: Float[Array, 'C 1']
  carried: Float[Array, 'C 1']  # what is left at i of the entering state
  kept: Float[Array, 'C 1']  # what is left of i in the leaving state
  whole: Float[Array, '1 1']  # what is left of the entering in the leaving


def interleave(work: Iterable[Generator]) -> None:
  """Runs generators to their ends, one stage of each in turn."""
  waiting = list(work)
  while waiting:
    waiting = [one for one in waiting if next(one, one) is not one]


def forward(
  query: Float[Array, 'C K'],
  key: Float[Array, 'C K'],
  value: Float[Array, 'C V'],
  tile: Float[Array, 'R C'],
  is_seen: Bool[Array, 'C C'],
  state: Float[Array, 'K V'],
  *,
  reverse: bool,
) -> Generator[None, None, tuple[Array, Array, Array]]:
  """Returns the output, the leaving state and the inverse."""
  dtype, length = query.dtype, query.shape[0]
  gates = _gates(tile, is_seen, dtype, reverse)
  yield
  rows = jnp.concatenate([query, key])
  products = _dot(rows, key, _RIGHT_TRANSPOSED)
  yield
  scores = (products[:length] * gates.decay).astype(dtype)
  triangle = gates.beta * products[length:] * gates.before
  inverse = yield from _inverse(triangle, dtype, reverse)
  inverse = inverse.astype(dtype)
  recalled = _dot(rows, state.astype(dtype))
  yield
  error = value.astype(jnp.float32) - gates.carried * recalled[length:]
  written = _dot(inverse, (gates.beta * error).astype(dtype))
  yield
  kept = (gates.kept * key.astype(jnp.float32)).astype(dtype)
  # Stacked, so that a matrix unit loads what is written once.
  read = _dot(jnp.concatenate([scores, kept.T]), written.astype(dtype))
  output = gates.carried * recalled[:length] + read[:length]
  state = gates.whole * state + read[length:]
  yield
  return output * query.shape[1] ** -0.5, state, inverse


def backward(
  query: Float[Array, 'C K'],
  key: Float[Array, 'C K'],
  value: Float[Array, 'C V'],
  tile: Float[Array, 'R C'],
  is_seen: Bool[Array, 'C C'],
  state: Float[Array, 'K V'],
  inverse: Float[Array, 'C C'],
  d_output: Float[Array, 'C V'],
  d_state: Float[Array, 'K V'],
  *,
  reverse: bool,
) -> Generator[None, None, tuple[Array, ...]]:
  """Returns the gradients of query, key, value, tile and state.

  Args:
    state: The entering state, as the forward pass stored it.
    d_state: Gradient of the leaving state, float32.
  """
  dtype, (length, num_keys) = query.dtype, query.shape
  scale = num_keys**-0.5
  gates = _gates(tile, is_seen, dtype, reverse)
  yield
  # In every stack of 2 C rows the query's side is above, the key's below.
  rows = jnp.concatenate([query, key])
  products = _dot(rows, key, _RIGHT_TRANSPOSED)
  recalled = _dot(key, state)
  leaving = d_state.astype(dtype)
  d_written = gates.kept * _dot(key, leaving)
  yield
  scores = (products[:length] * (scale * gates.decay)).astype(dtype)
  d_written += _dot(scores, d_output, _LEFT_TRANSPOSED)
  v = value.astype(jnp.float32)
  error = gates.beta * (v - gates.carried * recalled)
  written = _dot(inverse, error.astype(dtype)).astype(dtype)
  yield
  d_error = _dot(inverse, d_written.astype(dtype), _LEFT_TRANSPOSED)
  yield
  d_rows = jnp.concatenate([d_output, d_error.astype(dtype)])
  d_products = _dot(d_rows, written, _RIGHT_TRANSPOSED)
  d_recalled = _dot(d_rows, state, _RIGHT_TRANSPOSED)
  d_key_kept = gates.kept * _dot(written, leaving, _RIGHT_TRANSPOSED)
  yield
  d_scores = (d_products[:length] * (scale * gates.decay)).astype(dtype)
  d_triangle = -d_products[length:] * gates.before
  inward = jnp.concatenate([d_scores, d_triangle.astype(dtype)])
  d_read = _dot(inward, key)
  d_triangle = (gates.beta * d_triangle).astype(dtype)
  outward = jnp.concatenate([d_scores, d_triangle])
  d_key_written = _dot(outward, rows, _LEFT_TRANSPOSED) + d_key_kept
  yield
  q, k = query.astype(jnp.float32), key.astype(jnp.float32)
  d_query = d_read[:length] + (scale * gates.carried) * d_recalled[:length]
  d_key_read = d_read[length:] - gates.carried * d_recalled[length:]
  reach = jnp.concatenate(
    [
      ((scale * gates.carried) * q).astype(dtype),
      (-(gates.carried * gates.beta) * k).astype(dtype),
    ]
  )
  d_entering = gates.whole * d_state + _dot(reach, d_rows, _LEFT_TRANSPOSED)
  yield
  # The decay of a pair grows with the reader's total and falls with the
  # writer's; so does all that a token reads and writes.
  d_beta = _sum(k * d_key_read) + _sum(v * d_error)
  d_key_read = gates.beta * d_key_read
  d_total = _sum(q * d_query + k * (d_key_read - d_key_written))
  # All that reaches the leaving state decays with the last token's total.
  d_last = _sum_all(k * d_key_kept)
  d_last += gates.whole * _sum_all(state.astype(jnp.float32) * d_state)
  position = lax.broadcasted_iota(jnp.int32, d_total.shape, 0)
  is_last = position == (0 if reverse else length - 1)
  d_tile = _gradient_rows(d_total + jnp.where(is_last, d_last, 0), d_beta)
  yield
  d_key = d_key_read + d_key_written
  return d_query, d_key, gates.beta * d_error, d_tile, d_entering


def what_is_seen(tile: Float[Array, 'R C'], *, reverse: bool) -> Array:
  """Whether token i sees token j, [C C]: the same for every head of a row."""
  row, column = _iota(tile.shape[1])
  is_past = row <= column if reverse else row >= column
  return is_past & (tile.T[:, RUN : RUN + 1] == tile[RUN : RUN + 1])


def _gates(tile: Array, is_seen: Array, dtype, reverse: bool) -> Gates:
  # Numbers a token are cheap as rows, a register each, and not as columns.
  coarse, fine, _, _, is_carried, is_kept, is_whole = (
    tile[i : i + 1] for i in range(IS_WHOLE + 1)
  )
  end = slice(0, 1) if reverse else slice(-1, None)
  last = coarse[:, end] + fine[:, end]
  kept = jnp.exp((coarse[:, end] - coarse) + (fine[:, end] - fine)) * is_kept
  carried = jnp.exp(coarse + fine) * is_carried
  kind = lax.broadcasted_iota(jnp.int32, tile.shape, 0)
  columns = jnp.where(kind == IS_KEPT, kept, tile)
  columns = jnp.where(kind == IS_CARRIED, carried, columns)
  if dtype == jnp.float32:
    columns = columns.T
    between = columns[:, COARSE : COARSE + 1] - coarse
    between += columns[:, FINE : FINE + 1] - fine
  else:
    # One sum: what it loses, 2^-24 of all that decays in the chunk, is
    # nothing beside operands of bf16.
    columns = jnp.where(kind == COARSE, coarse + fine, columns).T
    between = columns[:, COARSE : COARSE + 1] - (coarse + fine)
  # Masked before the exponential, so that nothing overflows.
  decay = jnp.exp(jnp.where(is_seen, between, -jnp.inf))
  row, column = _iota(tile.shape[1])
  return Gates(
    decay,
    jnp.where(row == column, 0.0, decay),
    beta=columns[:, BETA : BETA + 1],
    carried=columns[:, IS_CARRIED : IS_CARRIED + 1],
    kept=columns[:, IS_KEPT : IS_KEPT + 1],
    whole=jnp.exp(last) * is_whole[:, :1],
  )


def _inverse(triangle: Array, dtype, reverse: bool):
  """Of I + triangle, strictly lower, or strictly upper in reverse; float32."""
  size, length = _BASE, triangle.shape[0]
  inverse = yield from _inverse_of_blocks(triangle, reverse)
  row, column = _iota(length)
  while size < length:
    is_pair = (row // (2 * size) == column // (2 * size)) & (
      row // size != column // size
    )
    # Of each pair of blocks, only the rows of the one that sees the other.
    between = _seeing(jnp.where(is_pair, triangle, 0), size, reverse)
    product = _precise_dot(between, inverse, dtype)
    yield
    product = _among_zeros(product, size, reverse)
    product = _precise_dot(_seeing(inverse, size, reverse), product, dtype)
    yield
    inverse = inverse - _among_zeros(product, size, reverse)
    size *= 2
  return inverse


def _inverse_of_blocks(triangle: Array, reverse: bool):
  """Of the diagonal blocks, side by side in the lanes, by substitution."""
  length = triangle.shape[0]
  num = length // _BASE
  lane = lax.broadcasted_iota(jnp.int32, (_BASE, length), 1)
  row = lax.broadcasted_iota(jnp.int32, (_BASE, length), 0)
  blocks = jnp.zeros((_BASE, length), jnp.float32)
  for i in range(num):
    rows = triangle[i * _BASE : (i + 1) * _BASE]
    blocks += jnp.where(lane // _BASE == i, rows, 0)
  inverse = jnp.where(lane % _BASE == row, 1.0, 0.0).astype(jnp.float32)
  for i in range(_BASE - 1, 0, -1) if reverse else range(_BASE - 1):
    source = lane // _BASE * _BASE + i
    factor = jnp.take_along_axis(blocks, source, axis=1)
    inverse -= factor * inverse[i : i + 1]
    yield
  row, column = _iota(length)
  on_diagonal = row // _BASE == column // _BASE
  return jnp.where(on_diagonal, jnp.concatenate([inverse] * num), 0)


def _seeing(x: Array, size: int, reverse: bool) -> Array:
  """The rows of every second block: those that see their neighbour."""
  first = 0 if reverse else size
  starts = range(first, x.shape[0], 2 * size)
  return jnp.concatenate([x[i : i + size] for i in starts])


def _among_zeros(x: Array, size: int, reverse: bool) -> Array:
  """Undoes `_seeing`, with zeros for the rows that were left out."""
  zeros = jnp.zeros((size, x.shape[1]), x.dtype)
  blocks = []
  for i in range(0, x.shape[0], size):
    block = x[i : i + size]
    blocks += [block, zeros] if reverse else [zeros, block]
  return jnp.concatenate(blocks)


def _iota(length: int) -> tuple[Array, Array]:
  shape = (length, length)
  return tuple(lax.broadcasted_iota(jnp.int32, shape, i) for i in range(2))


def _sum(x: Array) -> Array:
  return jnp.sum(x, axis=1, keepdims=True)


def _sum_all(x: Array) -> Array:
  """[1 1]; down the sublanes first, which is additions of registers."""
  return _sum(jnp.sum(x, axis=0, keepdims=True))


def _gradient_rows(d_total: Array, d_beta: Array) -> Array:
  """The gradient of a tile; COARSE is rounded, so FINE has it all."""
  shape = (d_total.shape[0], NUM_ROWS)
  kind = lax.broadcasted_iota(jnp.int32, shape, 1)
  columns = jnp.where(kind == BETA, d_beta, jnp.zeros(shape, jnp.float32))
  return jnp.where(kind == FINE, d_total, columns).T


def _dot(x: Array, y: Array, contracted=_PLAIN) -> Array:
  is_exact = x.dtype == jnp.float32
  return lax.dot_general(
    x,
    y,
    (contracted, ((), ())),
    precision=lax.Precision.HIGHEST if is_exact else None,
    preferred_element_type=jnp.float32,
  )


def _precise_dot(x: Array, y: Array, dtype) -> Array:
  """Of float32, in float32; beside bf16 inputs in three passes, 2^-16."""
  if dtype == jnp.float32:
    return _dot(x, y)
  (x, x_rest), (y, y_rest) = _halves(x), _halves(y)
  # Stacked, so that a matrix unit loads y once.
  both = _dot(jnp.concatenate([x, x_rest]), y)
  return both[: x.shape[0]] + (both[x.shape[0] :] + _dot(x, y_rest))


def _halves(x: Array) -> tuple[Array, Array]:
  high = x.astype(jnp.bfloat16)
  return high, (x - high.astype(jnp.float32)).astype(jnp.bfloat16)
