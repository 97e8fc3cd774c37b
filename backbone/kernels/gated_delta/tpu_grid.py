"""How the TPU kernels of the gated delta rule walk their arrays.

A call takes the heads of one direction, a few at a time, chunk after chunk. For
heads of both directions a second call writes into the arrays of the first, so
nothing is flipped, split or joined.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from backbone.array_types import Array
from backbone.kernels.gated_delta import tpu_chunk
from backbone.kernels.gated_delta.shapes import Shape

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
    if self.length % 128 or self.length < 128:
      raise ValueError(f'length {self.length} is no multiple of 128 lanes')
    if self.heads < 1:
      raise ValueError(f'heads must be 1 or more, not {self.heads}')


DEFAULT_BLOCKS = Blocks()


class Plan(NamedTuple):
  """What is known when the kernels are built."""

  reverses: tuple[bool, ...]
  blocks: Blocks
  interpret: bool


class Part(NamedTuple):
  """An array, or the shape of one, [B H P …], and what of it a step sees.

  Attributes:
    of: 'tokens', a chunk's rows of [T X]; 'chunk', one of [N X Y]; 'state',
      all of [X Y], which stays in VMEM from the first chunk to the last.
  """

  array: Array | jax.ShapeDtypeStruct
  of: str


def call(
  plan: Plan,
  head: Callable,
  inputs: Sequence[Part],
  outputs: Sequence[Part],
  *,
  is_backward: bool,
) -> Sequence[Array]:
  """Runs `head` for every head and chunk.

  Args:
    head: A generator of (inputs, outputs, index of this head in each of them,
      `tpu_chunk.what_is_seen`, reverse).
    inputs: Query, key, value, tile of gates, …, and a state.
    outputs: …, and the state that the chunks hand on, which starts as that of
      the inputs.
    is_backward: Travels the chunks the other way.
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
      functools.partial(_kernel, head, len(inputs), len(outputs), reverse),
      grid=(batch // rows, num_heads // heads, num_chunks),
      in_specs=[spec(part) for part in inputs]
      + [pl.BlockSpec(memory_space=pl.ANY)] * len(results),
      out_specs=[spec(part) for part in outputs],
      out_shape=[like(part).array for part in outputs],
      # The second group's call fills in what the first left.
      input_output_aliases={len(inputs) + i: i for i in range(len(results))},
      compiler_params=pltpu.CompilerParams(
        dimension_semantics=('parallel', 'parallel', 'arbitrary'),
        vmem_limit_bytes=_VMEM_BYTES,
      ),
      cost_estimate=_cost(plan, inputs, outputs, is_backward),
      interpret=pltpu.InterpretParams() if plan.interpret else False,
      name=f'gated_delta_{"backward" if is_backward else "forward"}',
    )(*(part.array for part in inputs), *results)
  return results


def _cost(plan, inputs, outputs, is_backward: bool) -> pl.CostEstimate:
  """Of one group's call, for XLA's schedule: each array is moved once."""
  groups = len(plan.reverses)
  batch, heads, _, length, num_keys = inputs[0].array.shape
  num_values = inputs[2].array.shape[-1]
  shape = Shape(batch, length, heads, num_keys, num_values)
  flops = shape.flops(backward=is_backward)
  if is_backward:
    flops -= shape.flops(backward=False)
  arrays = [part.array for part in (*inputs, *outputs)]
  return pl.CostEstimate(
    flops=flops,
    transcendentals=batch * heads * length * plan.blocks.length,
    bytes_accessed=sum(x.size * x.dtype.itemsize for x in arrays) // groups,
  )


def _kernel(head, num_inputs: int, num_outputs: int, reverse: bool, *refs):
  # Between the two is what an earlier call wrote, aliased and left alone.
  inputs, outputs = refs[:num_inputs], refs[-num_outputs:]

  @pl.when(pl.program_id(2) == 0)
  def _():
    outputs[-1][...] = inputs[-1][...]

  rows, heads = inputs[0].shape[:2]
  work = []
  for row in range(rows):
    tile = inputs[3][_index(row, 0, inputs[3])]
    is_seen = tpu_chunk.what_is_seen(tile, reverse=reverse)
    for i in range(heads):
      at = functools.partial(_index, row, i)
      work.append(head(inputs, outputs, at, is_seen, reverse=reverse))
  tpu_chunk.interleave(work)


def _index(row: int, head: int, ref) -> tuple[int, ...]:
  """Of the two last dimensions of a block, for one of its heads."""
  return (row, head) + (0,) * (len(ref.shape) - 4)


def _spec(
  length: int,
  block: tuple[int, int, int],
  mirror: int | None,
  part: Part,
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


def like(part: Part) -> Part:
  shape = jax.ShapeDtypeStruct(part.array.shape, part.array.dtype)
  return Part(shape, part.of)
