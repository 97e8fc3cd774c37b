"""Softmax attention: the one public function."""

import functools

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from backbone.array_types import Array, Float, Int
from backbone.kernels import dispatch
from backbone.kernels.attention import (
  cudnn,
  exchange,
  native_cpu,
  pallas_tpu,
  reference,
  ring,
  xla,
)

IMPLEMENTATIONS = {
  'xla': xla.attention,
  'native_cpu': native_cpu.attention,
  'pallas_tpu': pallas_tpu.attention,
  'cudnn': cudnn.attention,
  'reference': reference.attention,
}
UNAVAILABLE = {'native_cpu': native_cpu.unavailable}


def attention(
  query: Float[Array, 'B T H K'],
  key: Float[Array, 'B T H K'],
  value: Float[Array, 'B T H V'],
  *,
  segment_ids: Int[Array, 'B T'] | None = None,
  window: int | None = None,
  implementation: dispatch.Implementation | None = None,
  partition: P | None = None,
) -> Float[Array, 'B T H V']:
  """Bidirectional softmax attention, scaled by 1 / sqrt(K).

  Args:
    segment_ids: Packed sequences, ids of 0 or more; a token sees its own
      segment only. None: one sequence a row.
    window: Sees tokens at most this far away, to either side; None: all.
    implementation: One that runs or raises; None takes the platform's best.
    partition: How [B, T, H] is split over the mesh in use, evenly. A split
      sequence exchanges tokens with its neighbours for a window of at most
      half a share; else heads, where their number allows; else keys and values
      travel a ring, which only 'xla' does.

  Raises:
    NotImplementedError: Unknown implementation, or one that has no ring.
  """
  if segment_ids is None:
    segment_ids = jnp.zeros(query.shape[:2], jnp.int32)
  run = functools.partial(
    dispatch.choose('attention', implementation, IMPLEMENTATIONS, UNAVAILABLE),
    window=window,
  )
  if partition is not None:
    rows, tokens, heads = partition
    per_head = P(rows, tokens, heads, None)
    if tokens is not None:
      run = functools.partial(
        _split_sequence, run, window, tokens, implementation
      )
    run = jax.shard_map(
      run,
      in_specs=(per_head,) * 3 + (P(rows, tokens),),
      out_specs=per_head,
      check_vma=False,
    )
  return run(query, key, value, segment_ids)


def _split_sequence(run, window, axis, implementation, *arguments):
  _, length, num_heads, _ = arguments[0].shape
  if window is not None and 2 * window <= length:
    return exchange.attention_by_neighbours(
      run, *arguments, window=window, axis=axis
    )
  size = jax.lax.axis_size(axis)
  if num_heads % size == 0:
    return exchange.attention_by_heads(run, *arguments, axis=axis)
  if implementation not in (None, 'xla'):
    raise NotImplementedError(
      f'{num_heads} heads a device do not split over {size} devices, and '
      f"attention travels a ring as 'xla', not as {implementation!r}"
    )
  return ring.attention(*arguments, window=window, axis=axis)
