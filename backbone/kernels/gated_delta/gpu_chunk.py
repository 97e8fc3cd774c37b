"""The gated delta rule for GPUs, all but the recurrence of its states.

In the WY form of arXiv:2412.06464 §3.3 the chunks of a sequence meet only in
`recur`; what comes before and after it is done for all chunks at once, by XLA.
A head that travels in reverse is flipped while it is cut into chunks, which
copies it anyway, so that nothing behind that has a direction.

M counts the heads of all rows, N the chunks.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from einops import rearrange, repeat

from backbone.array_types import Array, Float, Int
from backbone.kernels.gated_delta.gates import finite_log_decay, segment_masks
from backbone.kernels.gated_delta.inverse import unit_lower_inverse

# Whether a head travels in reverse, for the heads of a group in turn.
_GROUPS = {'forward': (False,), 'reverse': (True,), 'split': (False, True)}

_PAIRS = 'mnik,mnjk->mnij'
_TIMES = 'mnij,mnjx->mnix'


def gated_delta(
  query: Float[Array, 'B T H K'],
  key: Float[Array, 'B T H K'],
  value: Float[Array, 'B T H V'],
  log_decay: Float[Array, 'B T H'],
  beta: Float[Array, 'B T H'],
  segment_ids: Int[Array, 'B T'],
  initial_state: Float[Array, 'B H K V'],
  *,
  direction: str,
  block_length: int,
  run: Callable,
) -> tuple[Float[Array, 'B T H V'], Float[Array, 'B H K V']]:
  """`reference.gated_delta` around a recurrence of states.

  Products take their operands in the type of `value` and add up in float32;
  decays and inverse are float32.

  Args:
    direction: 'forward', 'reverse', or 'split' (`api.gated_delta`).
    block_length: Tokens in a chunk, a power of two.
    run: The recurrence (`recur`).
  """
  reverses, dtype = _GROUPS[direction], value.dtype
  batch, length, num_heads, num_keys = query.shape
  chunk = functools.partial(_chunk, reverses, block_length)
  q, k, v = (chunk(x.astype(dtype)) for x in (query, key, value))
  gates = finite_log_decay(log_decay), beta.astype(jnp.float32)
  log_decay, beta = (chunk(x[..., None])[..., 0] for x in gates)
  masks = _masks(segment_ids, reverses, block_length, num_heads)
  decay, carried, kept, whole = _decays(log_decay, *masks)

  triangle = beta[..., None] * _dot(_PAIRS, k, k) * decay
  inverse = unit_lower_inverse(triangle)
  # The weights of the right side go to the inverse, so that keys and values
  # stay as they are and are rounded once.
  update = _dot(_TIMES, (inverse * beta[..., None, :]).astype(dtype), v)
  weight = inverse * (beta * carried)[..., None, :]
  read = -_dot(_TIMES, weight.astype(dtype), k)
  write = (kept[..., None] * k).astype(dtype)
  state = rearrange(
    initial_state.astype(jnp.float32),
    'b (h p) k v -> (p b h) k v',
    p=len(reverses),
  )
  operands = (x.astype(dtype) for x in (read, write, update))
  states, written, state = recur(run, *operands, whole, state)

  scale = num_keys**-0.5
  scores = (scale * _dot(_PAIRS, q, k) * decay).astype(dtype)
  output = _dot(_TIMES, scores, written)
  output += _dot(_TIMES, (scale * carried[..., None] * q).astype(dtype), states)
  output = _unchunk(reverses, batch, length, output.astype(dtype))
  state = rearrange(
    state, '(p b h) k v -> b (h p) k v', b=batch, p=len(reverses)
  )
  return output, state


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def recur(
  run: Callable,
  read: Float[Array, 'M N C K'],
  write: Float[Array, 'M N C K'],
  update: Float[Array, 'M N C V'],
  whole: Float[Array, 'M N'],
  initial: Float[Array, 'M K V'],
) -> tuple[
  Float[Array, 'M N K V'], Float[Array, 'M N C V'], Float[Array, 'M K V']
]:
  """What goes from chunk to chunk, by `run`.

    written_n = update_n + read_n S_n
    S_{n+1} = whole_n S_n + write_nᵀ written_n

  Its gradient is the same recurrence from the last chunk to the first with
  `read` and `write` exchanged, and the gradient of S_n as `addend_n`.

  Args:
    run: A function of (read, write, update, whole, addend or None, initial,
      reverse) that adds `addend_n` to S_{n+1}; `reverse` begins at the last
      chunk. It computes in float32 and returns what this function does.

  Returns:
    S_n and written_n in the type of `read`, and the float32 state behind the
    last chunk.
  """
  return run(read, write, update, whole, None, initial, reverse=False)


def _recur_forward(run, read, write, update, whole, initial):
  results = recur(run, read, write, update, whole, initial)
  states, written, _ = results
  return results, (read, write, whole, states, written)


def _recur_backward(run, residuals, cotangents):
  read, write, whole, states, written = residuals
  d_states, d_written, d_final = cotangents
  d_leaving, d_update, d_initial = run(
    write, read, d_written, whole, d_states, d_final, reverse=True
  )
  d_read = _dot('mncv,mnkv->mnck', d_update, states).astype(read.dtype)
  d_write = _dot('mncv,mnkv->mnck', written, d_leaving).astype(write.dtype)
  d_whole = states.astype(jnp.float32) * d_leaving.astype(jnp.float32)
  return d_read, d_write, d_update, jnp.sum(d_whole, (-2, -1)), d_initial


recur.defvjp(_recur_forward, _recur_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _dot(formula: str, x: Array, y: Array) -> Array:
  """An einsum into float32, whose gradient takes operands of the same type."""
  return jnp.einsum(formula, x, y, preferred_element_type=jnp.float32)


def _dot_forward(formula, x, y):
  return _dot(formula, x, y), (x, y)


def _dot_backward(formula, operands, cotangent):
  x, y = operands
  cotangent = cotangent.astype(x.dtype)
  inputs, result = formula.split('->')
  first, second = inputs.split(',')
  d_x = _dot(f'{result},{second}->{first}', cotangent, y)
  d_y = _dot(f'{first},{result}->{second}', x, cotangent)
  return d_x.astype(x.dtype), d_y.astype(y.dtype)


_dot.defvjp(_dot_forward, _dot_backward)


def _decays(
  log_decay: Float[Array, 'M N C'],
  run: Int[Array, 'M N C'],
  is_carried: Float[Array, 'M N C'],
  is_kept: Float[Array, 'M N C'],
  is_whole: Float[Array, 'M N 1'],
) -> tuple[Array, Array, Array, Array]:
  """What is left of j at i [C C], of the state at i, of i, of the state."""
  total = jnp.cumsum(log_decay, axis=-1)
  last = total[..., -1:]
  is_seen = jnp.tril(run[..., :, None] == run[..., None, :])
  is_seen = is_seen.astype(jnp.float32)
  # Masked before the exponential, so that no gradient meets an infinity.
  between = total[..., :, None] - total[..., None, :]
  decay = jnp.exp(between * is_seen) * is_seen
  carried = jnp.exp(total) * is_carried
  kept = jnp.exp(last - total) * is_kept
  whole = jnp.exp(last) * is_whole
  return decay, carried, kept, whole[..., 0]


def _masks(segment_ids, reverses, block_length: int, num_heads: int):
  """`segment_masks` of every head, [M N C]."""
  by_group = [
    segment_masks(_flip(segment_ids, reverse), block_length, reverse=False)
    for reverse in reverses
  ]
  num_heads //= len(reverses)
  return [
    repeat(jnp.stack(masks), 'p n b c -> (p b h) n c', h=num_heads)
    for masks in zip(*by_group, strict=True)
  ]


def _chunk(reverses, block_length: int, x: Array) -> Array:
  """[B, T, H, X] -> [M, N, C, X], zeros behind the end travelled to."""
  heads = jnp.stack(
    [
      _flip(x[:, :, group :: len(reverses)], reverse)
      for group, reverse in enumerate(reverses)
    ]
  )
  padding = -x.shape[1] % block_length
  heads = jnp.pad(heads, ((0, 0), (0, 0), (0, padding), (0, 0), (0, 0)))
  return rearrange(heads, 'p b (n c) h x -> (p b h) n c x', c=block_length)


def _unchunk(reverses, batch: int, length: int, x: Array) -> Array:
  """[M, N, C, X] -> [B, T, H, X]."""
  heads = rearrange(
    x, '(p b h) n c x -> p b (n c) h x', p=len(reverses), b=batch
  )
  heads = [
    _flip(one, reverse)
    for one, reverse in zip(heads[:, :, :length], reverses, strict=True)
  ]
  return rearrange(heads, 'p b t h x -> b t (h p) x')


def _flip(x: Array, reverse: bool) -> Array:
  return jnp.flip(x, axis=1) if reverse else x
