"""Softmax attention: the one public function."""

import functools

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from backbone.array_types import Array, Float, Int
from backbone.kernels import dispatch
from backbone.kernels.attention import pallas_tpu, reference, xla

IMPLEMENTATIONS = {
  'xla': xla.attention,
  'pallas_tpu': pallas_tpu.attention,
  'reference': reference.attention,
}


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
    partition: How [B, T, H] is split over the mesh in use; T must be whole.

  Raises:
    NotImplementedError: Unknown implementation, or a split sequence.
  """
  if segment_ids is None:
    segment_ids = jnp.zeros(query.shape[:2], jnp.int32)
  run = functools.partial(
    dispatch.choose('attention', implementation, IMPLEMENTATIONS),
    window=window,
  )
  if partition is not None:
    rows, tokens, heads = partition
    if tokens is not None:
      raise NotImplementedError('attention cannot split a sequence yet')
    per_head = P(rows, None, heads, None)
    run = jax.shard_map(
      run,
      in_specs=(per_head,) * 3 + (P(rows, None),),
      out_specs=per_head,
      check_vma=False,
    )
  return run(query, key, value, segment_ids)
