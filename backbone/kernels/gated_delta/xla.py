"""The gated delta rule in chunks, in plain XLA operations (float32)."""

import functools

import jax
import jax.numpy as jnp
from einops import rearrange

from backbone.array_types import Array, Float, Int
from backbone.kernels.gated_delta.inverse import unit_lower_inverse

# A gate of exactly 0 has a logarithm of -inf, whose differences are NaN;
# exp(-30) is below float32's resolution beside 1, and a sum over a chunk of it
# still resolves the decays behind it.
_SMALLEST_LOG_DECAY = -30.0


def gated_delta(
  query: Float[Array, 'B T H K'],
  key: Float[Array, 'B T H K'],
  value: Float[Array, 'B T H V'],
  log_decay: Float[Array, 'B T H'],
  beta: Float[Array, 'B T H'],
  segment_ids: Int[Array, 'B T'],
  initial_state: Float[Array, 'B H K V'],
  *,
  block_length: int = 64,
) -> tuple[Float[Array, 'B T H V'], Float[Array, 'B H K V']]:
  """`reference.gated_delta` in the WY form of arXiv:2412.06464 §3.3.

  A chunk is an affine map of the state, S -> M S + X, with M [K, K] and X
  [K, V] built for all chunks at once; only that map is applied in sequence.

  Args:
    block_length: Tokens in a chunk, a power of two.
  """
  length, num_keys = query.shape[1], query.shape[3]
  chunk = functools.partial(_chunk, block_length=block_length)
  q, k, v = (chunk(x.astype(jnp.float32)) for x in (query, key, value))
  q = q * num_keys**-0.5
  log_decay = jnp.maximum(log_decay.astype(jnp.float32), _SMALLEST_LOG_DECAY)
  beta = chunk(beta.astype(jnp.float32)[..., None])
  total = jnp.cumsum(chunk(log_decay[..., None])[..., 0], axis=-1)
  is_same, is_carried, is_kept, is_whole = _segment_masks(
    segment_ids, block_length
  )

  # Masked before the exponential, so that no gradient meets an infinity.
  decay = jnp.exp(jnp.where(is_same, _differences(total), -jnp.inf))
  grown = jnp.exp(total)
  lower = jnp.tril(beta * _pairs(k, k) * decay, -1)
  scores = _pairs(q, k) * decay
  carried = jnp.where(is_carried, grown, 0)[..., None]
  right = jnp.concatenate([beta * v, beta * carried * k], axis=-1)
  solved = unit_lower_inverse(lower) @ right

  last = total[..., -1:]
  kept = jnp.where(is_kept, jnp.exp(last - total), 0)[..., None] * k
  update = jnp.swapaxes(kept, -1, -2) @ solved
  whole = jnp.where(is_whole, grown[..., -1:], 0)[..., None]
  num_values = v.shape[-1]
  transition = whole * jnp.eye(num_keys) - update[..., num_values:]
  states, final_state = _affine_scan(
    transition, update[..., :num_values], initial_state.astype(jnp.float32)
  )
  attended = scores @ solved
  output = attended[..., :num_values]
  output += (carried * q - attended[..., num_values:]) @ states
  output = rearrange(output, 'n b h c v -> b (n c) h v')[:, :length]
  return output.astype(value.dtype), final_state


def _chunk(x: Array, block_length: int) -> Array:
  """[B, T, H, X] -> [N, B, H, C, X], zeros behind the end."""
  padding = -x.shape[1] % block_length
  x = jnp.pad(x, ((0, 0), (0, padding), (0, 0), (0, 0)))
  return rearrange(x, 'b (n c) h x -> n b h c x', c=block_length)


def _pairs(x: Array, y: Array) -> Array:
  return x @ jnp.swapaxes(y, -1, -2)


def _differences(total: Array) -> Array:
  return total[..., :, None] - total[..., None, :]


def _segment_masks(
  segment_ids: Array, block_length: int
) -> tuple[Array, Array, Array, Array]:
  """What may see what, within a chunk and across its borders.

  Returns:
    is_same [N B 1 C C]: Key at or before query, in one segment.
    is_carried [N B 1 C]: The state that enters the chunk reaches the token.
    is_kept [N B 1 C]: The token reaches the state that leaves the chunk.
    is_whole [N B 1 1]: The entering state reaches the leaving one.
  """
  starts = segment_ids[:, 1:] != segment_ids[:, :-1]
  run = jnp.cumsum(jnp.pad(starts, ((0, 0), (1, 0))), axis=1)
  padding = -run.shape[1] % block_length
  run = jnp.pad(run, ((0, 0), (0, padding)), mode='edge')
  run = rearrange(run, 'b (n c) -> n b 1 c', c=block_length)
  last = run[..., -1:]
  entering = jnp.concatenate([jnp.zeros_like(last[:1]), last[:-1]])
  is_same = jnp.tril(run[..., :, None] == run[..., None, :])
  return is_same, run == entering, run == last, last == entering


@jax.custom_vjp
def _affine_scan(
  transition: Float[Array, 'L B H K K'],
  update: Float[Array, 'L B H K V'],
  initial_state: Float[Array, 'B H K V'],
) -> tuple[Float[Array, 'L B H K V'], Float[Array, 'B H K V']]:
  """S_{n+1} = M_n S_n + X_n; returns every S_n and the one after the last."""

  def step(state, inputs):
    transition, update = inputs
    return transition @ state + update, state

  final_state, states = jax.lax.scan(step, initial_state, (transition, update))
  return states, final_state


def _affine_scan_forward(transition, update, initial_state):
  states, final_state = _affine_scan(transition, update, initial_state)
  return (states, final_state), (transition, states)


def _affine_scan_backward(residuals, cotangents):
  transition, states = residuals
  d_states, d_final = cotangents

  def step(d_next, inputs):
    transition, d_state = inputs
    return jnp.swapaxes(transition, -1, -2) @ d_next + d_state, d_next

  d_initial, d_update = jax.lax.scan(
    step, d_final, (transition, d_states), reverse=True
  )
  return _pairs(d_update, states), d_update, d_initial


_affine_scan.defvjp(_affine_scan_forward, _affine_scan_backward)
