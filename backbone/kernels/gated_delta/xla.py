"""The gated delta rule in chunks, in plain XLA operations (float32)."""

import functools

import jax
import jax.numpy as jnp
from einops import rearrange

from backbone.array_types import Array, Float, Int
from backbone.kernels import dispatch
from backbone.kernels.gated_delta.gates import finite_log_decay, segment_masks
from backbone.kernels.gated_delta.inverse import unit_lower_inverse
from backbone.kernels.products import overlap, pairs, times


def gated_delta(
  query: Float[Array, 'B T H K'],
  key: Float[Array, 'B T H K'],
  value: Float[Array, 'B T H V'],
  log_decay: Float[Array, 'B T H'],
  beta: Float[Array, 'B T H'],
  segment_ids: Int[Array, 'B T'],
  initial_state: Float[Array, 'B H K V'],
  *,
  reverse: bool = False,
  block_length: int | None = None,
) -> tuple[Float[Array, 'B T H V'], Float[Array, 'B H K V']]:
  """`reference.gated_delta` in the WY form of arXiv:2412.06464 §3.3.

  A chunk is an affine map of the state, S -> M S + X, with M [K, K] and X
  [K, V] built for all chunks at once; only that map is applied in sequence.
  Travelling in reverse transposes the triangles instead of flipping copies.

  Args:
    reverse: Travel from the last token to the first.
    block_length: Tokens in a chunk, a power of two; by default 32 on CPU, whose
      caches that suits, and 64 elsewhere.
  """
  length, num_keys = query.shape[1], query.shape[3]
  block_length = block_length or (32 if dispatch.platform() == 'cpu' else 64)
  chunk = functools.partial(_chunk, block_length=block_length)
  q, k, v = (chunk(x.astype(jnp.float32)) for x in (query, key, value))
  q = q * num_keys**-0.5
  log_decay = finite_log_decay(log_decay)
  beta = chunk(beta.astype(jnp.float32)[..., None])
  log_decay = chunk(log_decay[..., None])[..., 0]
  total = jax.lax.cumsum(log_decay, axis=log_decay.ndim - 1, reverse=reverse)
  last = total[..., :1] if reverse else total[..., -1:]
  run, is_carried, is_kept, is_whole = (
    rearrange(mask, 'n b c -> (n b) 1 c')
    for mask in segment_masks(segment_ids, block_length, reverse=reverse)
  )
  triangle = jnp.triu if reverse else jnp.tril
  is_same = triangle(run[..., :, None] == run[..., None, :])
  is_same = is_same.astype(jnp.float32)

  # Masked before the exponential, so that no gradient meets an infinity.
  decay = jnp.exp(_differences(total) * is_same) * is_same
  carried = (jnp.exp(total) * is_carried)[..., None]
  scores = pairs(q, k) * decay
  right = jnp.concatenate([beta * v, beta * carried * k], axis=-1)
  inverse = _inverse(beta * pairs(k, k) * decay, reverse=reverse)
  solved = times(inverse, right)

  kept = (jnp.exp(last - total) * is_kept)[..., None] * k
  update = overlap(kept, solved)
  whole = (jnp.exp(last) * is_whole)[..., None]
  num_values = v.shape[-1]
  transition = whole * jnp.eye(num_keys) - update[..., num_values:]
  per_chunk = functools.partial(
    rearrange, pattern='(n b) h i j -> n b h i j', b=query.shape[0]
  )
  states, final_state = _affine_scan(
    reverse,
    per_chunk(transition),
    per_chunk(update[..., :num_values]),
    initial_state.astype(jnp.float32),
  )
  states = rearrange(states, 'n b h k v -> (n b) h k v')
  attended = times(scores, solved)
  output = attended[..., :num_values]
  output += times(carried * q - attended[..., num_values:], states)
  output = rearrange(output, '(n b) h c v -> b (n c) h v', b=query.shape[0])[
    :, :length
  ]
  return output.astype(value.dtype), final_state


def _inverse(triangle: Array, *, reverse: bool) -> Array:
  """Of I + triangle, which is read below the diagonal, or above in reverse."""
  if not reverse:
    return unit_lower_inverse(triangle)
  return jnp.swapaxes(
    unit_lower_inverse(jnp.swapaxes(triangle, -1, -2)), -1, -2
  )


def _chunk(x: Array, block_length: int) -> Array:
  """[B, T, H, X] -> [N*B, H, C, X], zeros behind the end.

  Chunks and rows share an axis: one of size 1 between others slows the sums of
  XLA on CPU (docs/benchmarks.md).
  """
  padding = -x.shape[1] % block_length
  x = jnp.pad(x, ((0, 0), (0, padding), (0, 0), (0, 0)))
  return rearrange(x, 'b (n c) h x -> (n b) h c x', c=block_length)


def _differences(total: Array) -> Array:
  return total[..., :, None] - total[..., None, :]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _affine_scan(
  reverse: bool,
  transition: Float[Array, 'L B H K K'],
  update: Float[Array, 'L B H K V'],
  initial_state: Float[Array, 'B H K V'],
) -> tuple[Float[Array, 'L B H K V'], Float[Array, 'B H K V']]:
  """S_{n+1} = M_n S_n + X_n; returns every S_n and the one after the last."""

  def step(state, inputs):
    transition, update = inputs
    return transition @ state + update, state

  final_state, states = jax.lax.scan(
    step, initial_state, (transition, update), reverse=reverse
  )
  return states, final_state


def _affine_scan_forward(reverse, transition, update, initial_state):
  results = _affine_scan(reverse, transition, update, initial_state)
  return results, (transition, results[0])


def _affine_scan_backward(reverse, residuals, cotangents):
  """The same scan, the other way, through the transposed maps."""
  transition, states = residuals
  d_states, d_final = cotangents
  transposed = jnp.swapaxes(transition, -1, -2)
  d_update, d_initial = _affine_scan(not reverse, transposed, d_states, d_final)
  return pairs(d_update, states), d_update, d_initial


_affine_scan.defvjp(_affine_scan_forward, _affine_scan_backward)
