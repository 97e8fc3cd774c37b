"""The gated delta rule: the one public function."""

import functools
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from einops import rearrange
from jax.sharding import PartitionSpec as P

from backbone.array_types import Array, Float, Int
from backbone.kernels import dispatch
from backbone.kernels.gated_delta import (
  pallas_gpu,
  pallas_tpu,
  reference,
  xla,
)
from backbone.kernels.gated_delta.sequence_parallel import (
  across_shards,
)

Direction = Literal['forward', 'reverse', 'split']


def _by_direction(run: Callable) -> Callable:
  """Gives a form that knows `reverse` the argument `direction`."""

  def split(*arguments):
    """Even heads forward, odd heads in reverse."""
    *per_head, segment_ids, initial = arguments

    def one_way(first, reverse):
      heads = [x[:, :, first::2] for x in per_head]
      return run(*heads, segment_ids, initial[:, first::2], reverse=reverse)

    (there, state), (back, reverse_state) = one_way(0, False), one_way(1, True)
    return (
      rearrange([there, back], 'two b t h v -> b t (h two) v'),
      rearrange([state, reverse_state], 'two b h ... -> b (h two) ...'),
    )

  def directed(*arguments, direction):
    if direction == 'split':
      return split(*arguments)
    return run(*arguments, reverse=direction == 'reverse')

  return directed


IMPLEMENTATIONS = {
  'pallas_tpu': pallas_tpu.gated_delta,
  'pallas_gpu': pallas_gpu.gated_delta,
  'xla': _by_direction(xla.gated_delta),
  'reference': _by_direction(reference.gated_delta),
}


def gated_delta(
  query: Float[Array, 'B T H K'],
  key: Float[Array, 'B T H K'],
  value: Float[Array, 'B T H V'],
  log_decay: Float[Array, 'B T H'],
  beta: Float[Array, 'B T H'],
  *,
  segment_ids: Int[Array, 'B T'] | None = None,
  initial_state: Float[Array, 'B H K V'] | None = None,
  direction: Direction = 'forward',
  implementation: dispatch.Implementation | None = None,
  partition: P | None = None,
) -> tuple[Float[Array, 'B T H V'], Float[Array, 'B H K V']]:
  """S_t = α_t S_{t-1} (I - β_t k_t k_tᵀ) + β_t v_t k_tᵀ,  o_t = S_t q_t / √K.

  Args:
    query, key: Keys are expected to be L2-normalised by the caller.
    log_decay: log α ≤ 0; -inf (a gate of 0) is allowed.
    beta: Writing strength in (0, 1), or (0, 2) with negative eigenvalues.
    segment_ids: Packed sequences, contiguous; the state is zero at the first
      token of each, in the direction of travel. None: one sequence a row.
    initial_state: State before the first token travelled; zeros if None.
    direction: 'reverse' travels from the last token to the first; 'split' runs
      even heads forward and odd heads in reverse, so that a shard of an even
      number of heads holds as many of each.
    implementation: One that runs or raises; None takes the platform's best.
    partition: How [B, T, H] is split over the mesh in use. Of a split sequence
      only states travel between devices (`sequence_parallel.py`).

  Returns:
    Output in the type of `value`, and the float32 state after the last token.

  Raises:
    NotImplementedError: Unknown implementation.
    ValueError: 'split' with an odd number of heads.
  """
  batch, length, num_heads, num_keys = query.shape
  if direction == 'split' and num_heads % 2:
    raise ValueError(f"direction='split' needs even heads, not {num_heads}")
  if segment_ids is None:
    segment_ids = jnp.zeros((batch, length), jnp.int32)
  if initial_state is None:
    shape = (batch, num_heads, num_keys, value.shape[-1])
    initial_state = jnp.zeros(shape, jnp.float32)
  run = functools.partial(
    dispatch.choose('gated_delta', implementation, IMPLEMENTATIONS),
    direction=direction,
  )
  if partition is not None:
    run = _sharded(run, partition, direction)
  return run(query, key, value, log_decay, beta, segment_ids, initial_state)


def _sharded(run: Callable, partition: P, direction: Direction) -> Callable:
  rows, tokens, heads = partition
  if tokens is not None:
    run = across_shards(run, tokens, direction)
  per_head, state = P(rows, tokens, heads, None), P(rows, heads, None, None)
  return jax.shard_map(
    run,
    in_specs=(per_head,) * 3 + (partition,) * 2 + (P(rows, tokens), state),
    out_specs=(per_head, state),
    check_vma=False,
  )
