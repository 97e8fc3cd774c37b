"""Softmax attention of a split sequence, by exchanging tokens first.

Any implementation then runs on what a device has received.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from backbone.array_types import Array, Float, Int


def attention_by_heads(
  run: Callable,
  query: Float[Array, 'B T H K'],
  key: Float[Array, 'B T H K'],
  value: Float[Array, 'B T H V'],
  segment_ids: Int[Array, 'B T'],
  *,
  axis: str | tuple[str, ...],
) -> Float[Array, 'B T H V']:
  """All tokens of some heads, instead of some tokens of all heads.

  The axis must divide H (Jacobs et al., arXiv:2309.14509).
  """

  def exchange(x, given, taken):
    return jax.lax.all_to_all(x, axis, given, taken, tiled=True)

  segment_ids = jax.lax.all_gather(segment_ids, axis, axis=1, tiled=True)
  whole = (exchange(x, 2, 1) for x in (query, key, value))
  return exchange(run(*whole, segment_ids), 1, 2)


def attention_by_neighbours(
  run: Callable,
  query: Float[Array, 'B T H K'],
  key: Float[Array, 'B T H K'],
  value: Float[Array, 'B T H V'],
  segment_ids: Int[Array, 'B T'],
  *,
  window: int,
  axis: str | tuple[str, ...],
) -> Float[Array, 'B T H V']:
  """`window` tokens of either neighbour beside a device's own T >= window."""
  size, length = jax.lax.axis_size(axis), query.shape[1]

  def beside(x):
    # A device at an end receives zeros, which is no segment after the shift.
    right = [(i, i + 1) for i in range(size - 1)]
    left = [(i + 1, i) for i in range(size - 1)]
    before = jax.lax.ppermute(x[:, length - window :], axis, right)
    after = jax.lax.ppermute(x[:, :window], axis, left)
    return jnp.concatenate([before, x, after], axis=1)

  # The queries of neighbours are computed in vain, and never sent.
  query = jnp.pad(query, ((0, 0), (window, window), (0, 0), (0, 0)))
  output = run(query, beside(key), beside(value), beside(segment_ids + 1))
  return output[:, window : window + length]
