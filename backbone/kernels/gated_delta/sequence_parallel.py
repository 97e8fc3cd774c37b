"""The gated delta rule on a sequence that is split over devices.

A stretch of the sequence is an affine map of the state, S -> M S + X, and its
outputs are affine in the state that enters it, o = o_0 + z S. The op itself
gives all four: K more values a token, which are zero, and an entering state of
[0 | I] turn the output into [o_0 | z] and the leaving state into [X | M]. So
every form of the op is one for sequences that are split, and its gradient is
too; only maps travel between devices, in log2(P) rounds of a prefix scan.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from einops import rearrange

from backbone.array_types import Array, Float, Int

AxisName = str | tuple[str, ...]


def across_shards(run: Callable, axis: AxisName, direction: str) -> Callable:
  """Gives a form of the op, under `shard_map`, a sequence split over `axis`.

  Args:
    run: The op on whole sequences, as `api.gated_delta` calls it.
    axis: Mesh axis (or axes) over which tokens are split.
    direction: Of `run`: 'forward', 'reverse' or 'split'.
  """

  def sharded(
    query: Float[Array, 'B T H K'],
    key: Float[Array, 'B T H K'],
    value: Float[Array, 'B T H V'],
    log_decay: Float[Array, 'B T H'],
    beta: Float[Array, 'B T H'],
    segment_ids: Int[Array, 'B T'],
    initial_state: Float[Array, 'B H K V'],
  ) -> tuple[Float[Array, 'B T H V'], Float[Array, 'B H K V']]:
    gates = log_decay, beta, segment_ids
    if jax.lax.axis_size(axis) == 1:
      return run(query, key, value, *gates, initial_state)
    batch, _, heads, num_keys = query.shape
    num_values = value.shape[-1]
    nothing = jnp.zeros((batch, heads, num_keys, num_values), jnp.float32)
    identity = jnp.broadcast_to(
      jnp.eye(num_keys), (batch, heads, num_keys, num_keys)
    )
    output, maps = run(
      query,
      key,
      jnp.concatenate([value, jnp.zeros_like(query)], axis=-1),
      *gates,
      jnp.concatenate([nothing, identity], axis=-1),
    )
    entering, final = _states(
      axis, direction, maps, segment_ids, initial_state.astype(jnp.float32)
    )
    response = output[..., num_values:]
    output = output[..., :num_values] + jnp.einsum(
      'bthk,bhkv->bthv', response, entering.astype(response.dtype)
    )
    return output.astype(value.dtype), final

  return sharded


def _states(axis, direction, maps, segment_ids, initial):
  """Entering state of this shard, and the final state, for every head."""
  if direction != 'split':
    reverse = direction == 'reverse'
    return _one_way(axis, reverse, maps, segment_ids, initial)
  ways = [
    _one_way(axis, bool(i), maps[:, i::2], segment_ids, initial[:, i::2])
    for i in range(2)
  ]
  return tuple(
    rearrange(list(pair), 'two b h k v -> b (h two) k v')
    for pair in zip(*ways, strict=True)
  )


def _one_way(
  axis: AxisName,
  reverse: bool,
  maps: Float[Array, 'B H K W'],
  segment_ids: Int[Array, 'B T'],
  initial: Float[Array, 'B H K V'],
) -> tuple[Float[Array, 'B H K V'], Float[Array, 'B H K V']]:
  num_values = initial.shape[-1]
  size, here = jax.lax.axis_size(axis), jax.lax.axis_index(axis)
  place = size - 1 - here if reverse else here

  def from_behind(x, distance):
    """What the shard `distance` before this one, as travelled, has of x."""
    step = -distance if reverse else distance
    pairs = [(i, i + step) for i in range(size) if 0 <= i + step < size]
    return jax.lax.ppermute(x, axis, pairs)

  first, last = segment_ids[:, :1], segment_ids[:, -1:]
  border, other = (last, first) if reverse else (first, last)
  # The first shard as travelled continues from the initial state.
  continues = (from_behind(other, 1) == border) | (place == 0)
  continues = continues[..., None, None].astype(jnp.float32)

  update, transition = maps[..., :num_values], maps[..., num_values:]
  transition = transition * continues
  # From here on the first shard's map holds what the initial state adds.
  update += jnp.where(place == 0, _times(transition, initial), 0)
  transition = jnp.where(place == 0, 0, transition)
  distance = 1
  while distance < size:
    behind = from_behind(jnp.concatenate([update, transition], -1), distance)
    moved = _times(transition, behind)
    update += moved[..., :num_values]
    # A shard whose map has reached the first one is done.
    transition = moved[..., num_values:]
    distance *= 2
  entering = jnp.where(place == 0, initial, from_behind(update, 1))
  final = jnp.where(place == size - 1, update, 0)
  return continues * entering, jax.lax.psum(final, axis)


def _times(x: Array, y: Array) -> Array:
  return jnp.matmul(x, y, precision=jax.lax.Precision.HIGHEST)
