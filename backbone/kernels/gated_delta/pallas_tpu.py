"""The gated delta rule on TPU: chunks in sequence, their state in VMEM.

What happens in a chunk is in `tpu_chunk.py`; here is what moves where. A call
takes the heads of one direction. For heads of both, a second call writes into
the arrays of the first, so nothing is flipped, split or joined.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange, repeat
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from backbone.array_types import Array, Float, Int
from backbone.kernels import dispatch
from backbone.kernels.gated_delta import tpu_chunk
from backbone.kernels.gated_delta.gates import finite_log_decay, segment_masks

# Whether a head travels in reverse, for the heads of a group in turn.
_GROUPS = {'forward': (False,), 'reverse': (True,), 'split': (False, True)}

# The cores have 64 MiB (v5p) or 128 MiB (v5e, v6e); the compiler's default
# budget of 16 or 32 MiB is less than four heads take with wide states.
_VMEM_BYTES = 56 * 2**20


@dataclasses.dataclass(frozen=True)
class Blocks:
  """What one step of the grid takes.

  Attributes:
    length: Tokens in a chunk, a multiple of the lanes of a register.
    heads: Heads at most, interleaved so that each hides the others' waiting.
  """

  length: int = 128
  heads: int = 4

  def __post_init__(self):
    if self.length % 128:
      raise ValueError(f'length {self.length} is no multiple of 128 lanes')
    if self.heads < 1:
      raise ValueError(f'heads must be 1 or more, not {self.heads}')


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
  blocks: Blocks = Blocks(),
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
    _Plan(reverses, blocks, dispatch.platform() != 'tpu'),
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


class _Plan(NamedTuple):
  """What is known when the kernels are built."""

  reverses: tuple[bool, ...]
  blocks: Blocks
  interpret: bool


class _Part(NamedTuple):
  """An array, or the shape of one, [B H P …], and what of it a step sees.

  Attributes:
    of: 'tokens', a chunk's rows of [T X]; 'chunk', one of [N X Y]; 'state',
      all of [X Y], which stays in VMEM from the first chunk to the last.
  """

  array: Array | jax.ShapeDtypeStruct
  of: str


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _recur(plan: _Plan, query, key, value, tile, initial):
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
  tokens = [_Part(x, 'tokens') for x in (query, key, value)]
  tile, state = _Part(tile, 'chunk'), _Part(d_final, 'state')
  saved = [_Part(states, 'chunk'), _Part(inverse, 'chunk')]
  given = _Part(d_output, 'tokens')
  gradients = _call(
    plan,
    _backward_head,
    [*tokens, tile, *saved, given, state],
    [_like(part) for part in (*tokens, tile, state)],
    is_backward=True,
  )
  return tuple(gradients)


_recur.defvjp(_recur_forward, _recur_backward)


def _call_forward(plan, query, key, value, tile, initial, *, save: bool):
  batch, heads, groups, num_chunks, _, length = tile.shape
  num_keys, num_values = initial.shape[-2:]
  tokens = [_Part(x, 'tokens') for x in (query, key, value)]
  state = _Part(initial, 'state')
  saved = []
  if save:
    leading = (batch, heads, groups, num_chunks)
    saved = [
      _Part(jax.ShapeDtypeStruct((*leading, *shape), query.dtype), 'chunk')
      for shape in ((num_keys, num_values), (length, length))
    ]
  return _call(
    plan,
    _forward_head,
    [*tokens, _Part(tile, 'chunk'), state],
    [_like(tokens[-1]), *saved, _like(state)],
    is_backward=False,
  )


def _forward_head(inputs, outputs, at, reverse):
  query, key, value, tile, _ = (x[at(x)] for x in inputs)
  output, *saved, state = outputs
  entering = state[at(state)]
  result, leaving, inverse = yield from tpu_chunk.forward(
    query, key, value, tile, entering, reverse=reverse
  )
  state[at(state)] = leaving
  output[at(output)] = result.astype(output.dtype)
  for ref, residual in zip(saved, (entering, inverse), strict=False):
    ref[at(ref)] = residual.astype(ref.dtype)


def _backward_head(inputs, outputs, at, reverse):
  arguments = [x[at(x)] for x in inputs[:-1]]
  d_state = outputs[-1]
  gradients = yield from tpu_chunk.backward(
    *arguments, d_state[at(d_state)], reverse=reverse
  )
  for ref, gradient in zip(outputs, gradients, strict=True):
    ref[at(ref)] = gradient.astype(ref.dtype)


def _call(
  plan: _Plan,
  head: Callable,
  inputs: Sequence[_Part],
  outputs: Sequence[_Part],
  *,
  is_backward: bool,
) -> Sequence[Array]:
  """Runs `head` for every head and chunk; the last in- and output is a state.

  A backward pass travels the chunks the other way.
  """
  num_chunks = inputs[0].array.shape[3] // plan.blocks.length
  rows, heads = _divide(inputs[0].array.shape[:2], plan.blocks.heads)
  batch, num_heads = inputs[0].array.shape[:2]
  results = []
  for group, reverse in enumerate(plan.reverses):
    spec = functools.partial(
      _spec,
      plan.blocks.length,
      (rows, heads, group),
      num_chunks if reverse != is_backward else None,
    )
    results = pl.pallas_call(
      functools.partial(
        _kernel,
        functools.partial(head, reverse=reverse),
        len(inputs),
        len(outputs),
      ),
      grid=(batch // rows, num_heads // heads, num_chunks),
      in_specs=[spec(part) for part in inputs]
      + [pl.BlockSpec(memory_space=pl.ANY)] * len(results),
      out_specs=[spec(part) for part in outputs],
      out_shape=[_like(part).array for part in outputs],
      # The second group's call fills in what the first left.
      input_output_aliases={len(inputs) + i: i for i in range(len(results))},
      compiler_params=pltpu.CompilerParams(
        dimension_semantics=('parallel', 'parallel', 'arbitrary'),
        vmem_limit_bytes=_VMEM_BYTES,
      ),
      interpret=pltpu.InterpretParams() if plan.interpret else False,
      name=f'gated_delta_{"backward" if is_backward else "forward"}',
    )(*(part.array for part in inputs), *results)
  return results


def _kernel(head: Callable, num_inputs: int, num_outputs: int, *refs):
  # Between the two is what an earlier call wrote, aliased and left alone.
  inputs, outputs = refs[:num_inputs], refs[-num_outputs:]

  @pl.when(pl.program_id(2) == 0)
  def _():
    outputs[-1][...] = inputs[-1][...]

  rows, heads = inputs[0].shape[:2]
  tpu_chunk.interleave(
    head(inputs, outputs, functools.partial(_index, row, i))
    for row in range(rows)
    for i in range(heads)
  )


def _index(row: int, head: int, ref) -> tuple[int, ...]:
  """Of the two last dimensions of a block, for one of its heads."""
  return (row, head) + (0,) * (len(ref.shape) - 4)


def _spec(
  length: int,
  block: tuple[int, int, int],
  mirror: int | None,
  part: _Part,
) -> pl.BlockSpec:
  """Blocks of (rows, heads) of a group; the last chunk first if `mirror`."""
  rows, heads, group = block
  *_, first, last = part.array.shape

  def chunk(i):
    return i if mirror is None else mirror - 1 - i

  shape, where = {
    'tokens': ((length, last), lambda i: (chunk(i), 0)),
    'chunk': ((1, first, last), lambda i: (chunk(i), 0, 0)),
    'state': ((first, last), lambda i: (0, 0)),
  }[part.of]
  return pl.BlockSpec(
    (rows, heads, 1, *shape), lambda b, h, i: (b, h, group, *where(i))
  )


def _divide(sizes: tuple[int, int], most: int) -> tuple[int, int]:
  """How many rows and heads a step takes: heads first, `most` in all."""
  rows, heads = sizes
  heads = max(n for n in range(1, most + 1) if heads % n == 0)
  rows = max(n for n in range(1, most // heads + 1) if rows % n == 0)
  return rows, heads


def _like(part: _Part) -> _Part:
  shape = jax.ShapeDtypeStruct(part.array.shape, part.array.dtype)
  return _Part(shape, part.of)
