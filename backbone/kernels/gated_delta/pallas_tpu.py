"""The gated delta rule on TPU: chunks in sequence, their state in VMEM.

`tpu_chunk.py` has what happens in a chunk, `tpu_grid.py` what moves when.
"""

import functools

import jax
import jax.numpy as jnp
from einops import rearrange, repeat

from backbone.array_types import Array, Float, Int
from backbone.kernels import dispatch
from backbone.kernels.gated_delta import tpu_chunk
from backbone.kernels.gated_delta.gates import finite_log_decay, segment_masks
from backbone.kernels.gated_delta.tpu_grid import (
  DEFAULT_BLOCKS,
  Blocks,
  Part,
  Plan,
  call,
  like,
)

# Whether a head travels in reverse, for the heads of a group in turn.
_GROUPS = {'forward': (False,), 'reverse': (True,), 'split': (False, True)}


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
  blocks: Blocks = DEFAULT_BLOCKS,
) -> tuple[Float[Array, 'B T H V'], Float[Array, 'B H K V']]:
  """`reference.gated_delta` as a TPU kernel, interpreted on other platforms.

  Products take their operands in the type of `value`; decays, inverse and the
  state in VMEM are float32.

  Args:
    direction: 'forward', 'reverse', or 'split' (`api.gated_delta`).
  """
  reverses = _GROUPS[direction]
  length, dtype = query.shape[1], value.dtype
  chunk = functools.partial(_chunk, blocks.length, len(reverses))
  tile = _tile(log_decay, beta, segment_ids, reverses, blocks.length)
  state = rearrange(
    initial_state.astype(jnp.float32),
    'b (h p) k v -> b h p k v',
    p=len(reverses),
  )
  output, state = _recur(
    Plan(reverses, blocks, dispatch.platform() != 'tpu'),
    *(chunk(x.astype(dtype)) for x in (query, key, value)),
    tile,
    state,
  )
  output = rearrange(output, 'b h p t v -> b t (h p) v')[:, :length]
  return output, rearrange(state, 'b h p k v -> b (h p) k v')


def _chunk(block_length: int, num_groups: int, x: Array) -> Array:
  x = jnp.pad(x, ((0, 0), (0, -x.shape[1] % block_length), (0, 0), (0, 0)))
  return rearrange(x, 'b t (h p) k -> b h p t k', p=num_groups)


def _tile(log_decay, beta, segment_ids, reverses, block_length) -> Array:
  """[B H P N R C]: the rows that `tpu_chunk` names, for every chunk."""

  def chunked(x):
    x = jnp.pad(x, ((0, 0), (0, -x.shape[1] % block_length), (0, 0)))
    return rearrange(
      x, 'b (n c) (h p) -> p b h n c', c=block_length, p=len(reverses)
    )

  gates = chunked(finite_log_decay(log_decay)), chunked(beta)
  tiles = []
  for reverse, log_decay, beta in zip(reverses, *gates, strict=True):
    # Multiples of 2^-8 add up without error, and the rests stay small: the
    # difference of two totals is exact however much has decayed in a chunk.
    coarse = jax.lax.stop_gradient(jnp.round(log_decay * 256) / 256)
    totals = [
      jax.lax.cumsum(x, axis=3, reverse=reverse)
      for x in (coarse, log_decay - coarse)
    ]
    masks = (
      repeat(mask, 'n b c -> b h n c', h=beta.shape[1]).astype(jnp.float32)
      for mask in segment_masks(segment_ids, block_length, reverse=reverse)
    )
    rows = [*totals, beta.astype(jnp.float32), *masks]
    rows = [jnp.broadcast_to(row, beta.shape) for row in rows]
    rows += [jnp.zeros_like(rows[0])] * (tpu_chunk.NUM_ROWS - len(rows))
    tiles.append(jnp.stack(rows, axis=3))
  return jnp.stack(tiles, axis=2)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _recur(plan: Plan, query, key, value, tile, initial):
  """Output [B H P T V] and final state [B H P K V]."""
  inputs = query, key, value, tile, initial
  output, final = _call_forward(plan, *inputs, save=False)
  return output, final


def _recur_forward(plan, *inputs):
  output, states, inverse, final = _call_forward(plan, *inputs, save=True)
  return (output, final), (*inputs[:4], states, inverse)


def _recur_backward(plan, residuals, cotangents):
  query, key, value, tile, states, inverse = residuals
  d_output, d_final = cotangents
  tokens = [Part(x, 'tokens') for x in (query, key, value)]
  tile, state = Part(tile, 'chunk'), Part(d_final, 'state')
  saved = [Part(states, 'chunk'), Part(inverse, 'chunk')]
  given = Part(d_output, 'tokens')
  gradients = call(
    plan,
    _backward_head,
    [*tokens, tile, *saved, given, state],
    [like(part) for part in (*tokens, tile, state)],
    is_backward=True,
  )
  return tuple(gradients)


_recur.defvjp(_recur_forward, _recur_backward)


def _call_forward(plan, query, key, value, tile, initial, *, save: bool):
  batch, heads, groups, num_chunks, _, length = tile.shape
  num_keys, num_values = initial.shape[-2:]
  tokens = [Part(x, 'tokens') for x in (query, key, value)]
  state = Part(initial, 'state')
  saved = []
  if save:
    leading = (batch, heads, groups, num_chunks)
    saved = [
      Part(jax.ShapeDtypeStruct((*leading, *shape), query.dtype), 'chunk')
      for shape in ((num_keys, num_values), (length, length))
    ]
  return call(
    plan,
    _forward_head,
    [*tokens, Part(tile, 'chunk'), state],
    [like(tokens[-1]), *saved, like(state)],
    is_backward=False,
  )


def _forward_head(inputs, outputs, at, is_seen, *, reverse):
  tokens_and_tile = [x[at(x)] for x in inputs[:4]]
  output, *saved, state = outputs
  entering = state[at(state)]
  result, leaving, inverse = yield from tpu_chunk.forward(
    *tokens_and_tile, is_seen, entering, reverse=reverse
  )
  state[at(state)] = leaving
  output[at(output)] = result.astype(output.dtype)
  for ref, residual in zip(saved, (entering, inverse), strict=False):
    ref[at(ref)] = residual.astype(ref.dtype)


def _backward_head(inputs, outputs, at, is_seen, *, reverse):
  arguments = [x[at(x)] for x in inputs[:-1]]
  d_state = outputs[-1]
  gradients = yield from tpu_chunk.backward(
    *arguments[:4],
    is_seen,
    *arguments[4:],
    d_state[at(d_state)],
    reverse=reverse,
  )
  for ref, gradient in zip(outputs, gradients, strict=True):
    ref[at(ref)] = gradient.astype(ref.dtype)
