"""The gated delta rule on NVIDIA Hopper: states in registers, chunk by chunk.

Not run on hardware: it compiles for an H100 and agrees with the reference when
interpreted on CPU. A thread block takes one head and some of its value columns,
whose float32 state it keeps while the operands of the chunks come by, one chunk
ahead of the products; what is around that is in `gpu_chunk.py`.
"""

import dataclasses
import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from backbone.array_types import Array, Float, Int
from backbone.kernels import dispatch
from backbone.kernels.gated_delta import gpu_chunk

# Rows of a product that a warpgroup takes, in multiples.
_ROWS = 64

# A wider state than this and its update leave a thread no registers.
_MOST_KEYS = 128


@dataclasses.dataclass(frozen=True)
class Blocks:
  """What a thread block takes.

  Attributes:
    length: Tokens in a chunk, a power of two.
    values: Columns of the state.
  """

  length: int = 64
  values: int = 64

  def __post_init__(self):
    if self.length < _ROWS or self.length & (self.length - 1):
      raise ValueError(f'length {self.length} is no power of two from {_ROWS}')
    if self.values % _ROWS or self.values < 1:
      raise ValueError(f'values {self.values} is no multiple of {_ROWS}')


DEFAULT_BLOCKS = Blocks()


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
  """`reference.gated_delta` with the recurrence of states as a GPU kernel.

  Products take their operands in bfloat16; decays, inverse and the state are
  float32.

  Args:
    direction: 'forward', 'reverse', or 'split' (`api.gated_delta`).

  Raises:
    NotImplementedError: Off Hopper, and for types and widths other than those
      that the kernel is written for.
  """
  _check_device()
  _check_arguments(value.dtype, query.shape[-1], value.shape[-1], blocks)
  return gpu_chunk.gated_delta(
    query,
    key,
    value,
    log_decay,
    beta,
    segment_ids,
    initial_state,
    direction=direction,
    block_length=blocks.length,
    run=functools.partial(recur, blocks),
  )


def _check_device() -> None:
  platform = dispatch.platform()
  if platform != 'gpu':
    raise NotImplementedError(f"'pallas_gpu' does not run on {platform}")
  device = jax.local_devices()[0]
  # A program may be lowered where there is no GPU.
  if device.platform == 'gpu' and int(float(device.compute_capability)) != 9:
    raise NotImplementedError(
      f"'pallas_gpu' needs Hopper (9.x), not {device.compute_capability}"
    )


def _check_arguments(dtype, num_keys: int, num_values: int, blocks: Blocks):
  if dtype != jnp.bfloat16:
    raise NotImplementedError(f"'pallas_gpu' does not take {dtype}")
  if num_keys % _ROWS or num_keys > _MOST_KEYS or num_values % blocks.values:
    raise NotImplementedError(
      f"'pallas_gpu' takes keys of {_ROWS} or {_MOST_KEYS} and values in "
      f'multiples of {blocks.values}, not {num_keys} and {num_values}'
    )


def recur(
  blocks: Blocks,
  read: Float[Array, 'M N C K'],
  write: Float[Array, 'M N C K'],
  update: Float[Array, 'M N C V'],
  whole: Float[Array, 'M N'],
  addend: Float[Array, 'M N K V'] | None,
  initial: Float[Array, 'M K V'],
  *,
  reverse: bool,
) -> tuple[
  Float[Array, 'M N K V'], Float[Array, 'M N C V'], Float[Array, 'M K V']
]:
  """The `run` of `gpu_chunk.recur`."""
  num_heads, num_chunks, _, num_keys = read.shape
  num_values = update.shape[-1]
  streams = [read, write, update] + ([] if addend is None else [addend])
  outputs = (
    ((num_heads, num_chunks, num_keys, num_values), read.dtype),
    (update.shape, read.dtype),
    (initial.shape, initial.dtype),
  )
  flat = [x.reshape(_flat(x.shape)) for x in (*streams, initial)]
  plan = _Plan(blocks.length, num_keys, blocks.values, num_chunks, reverse)
  results = plgpu.kernel(
    functools.partial(_kernel, plan),
    out_type=[jax.ShapeDtypeStruct(_flat(s), d) for s, d in outputs],
    grid=(num_heads, num_values // blocks.values),
    grid_names=('head', 'part'),
    compiler_params=plgpu.CompilerParams(
      lowering_semantics=plgpu.LoweringSemantics.Warpgroup
    ),
    kernel_name=f'gated_delta_{"backward" if reverse else "forward"}',
  )(*flat, whole.reshape(-1))
  pairs = zip(results, outputs, strict=True)
  return tuple(x.reshape(shape) for x, (shape, _) in pairs)


def _flat(shape: tuple[int, ...]) -> tuple[int, int]:
  """All but the columns in one axis: the copy engine takes few axes."""
  return math.prod(shape[:-1]), shape[-1]


class _Plan(NamedTuple):
  """What is known when the kernel is built."""

  length: int
  num_keys: int
  num_values: int  # of a thread block
  num_chunks: int
  reverse: bool


def _kernel(plan: _Plan, *refs):
  *streams, initial, whole, states, written, final = refs
  length, num_keys, num_values, *_ = plan
  head = lax.axis_index('head')
  columns = pl.ds(lax.axis_index('part') * num_values, num_values)
  own = pl.ds(head * num_keys, num_keys), columns
  exact = _shared((num_keys, num_values), jnp.float32)
  shapes = [(length, num_keys)] * 2
  shapes += [(length, num_values), (num_keys, num_values)]
  shapes, dtype = shapes[: len(streams)], states.dtype
  # The scratch of a scope takes the place of that of the scope before.
  state = pl.run_scoped(
    functools.partial(_load, initial.at[own]), exact, plgpu.Barrier()
  )
  state = pl.run_scoped(
    functools.partial(
      _travel, plan, streams, whole, (states, written), head, columns, state
    ),
    [_shared((2, *shape), dtype) for shape in shapes],
    _shared((num_keys, num_values), dtype),
    _shared((length, num_values), dtype),
    plgpu.Barrier(num_arrivals=len(streams), num_barriers=2),
  )
  pl.run_scoped(functools.partial(_store, final.at[own], state), exact)


def _load(source, buffer, arrived) -> Array:
  plgpu.copy_gmem_to_smem(source, buffer, arrived)
  plgpu.barrier_wait(arrived)
  state = buffer[...]
  # All have read before copies into the next scope's scratch begin.
  plgpu.commit_smem()
  return state


def _store(target, state: Array, buffer) -> None:
  buffer[...] = state
  plgpu.commit_smem()
  plgpu.copy_smem_to_gmem(buffer, target)
  plgpu.wait_smem_to_gmem(0)


def _travel(
  plan: _Plan,
  streams,
  whole,
  outputs,
  head: Array,
  columns: pl.Slice,
  state: Float[Array, 'K V'],
  buffers,
  entering,
  result,
  arrived,
) -> Float[Array, 'K V']:
  """Returns the state behind the last chunk.

  Args:
    streams: Read, write, update and maybe addend of all chunks.
    buffers: Of each stream, for this chunk and the next.
    entering, result: The state and what is written, as operands.
    arrived: That the buffers of a chunk are filled.
  """
  states, written = outputs

  def chunk(step):
    first = head * plan.num_chunks
    return first + (plan.num_chunks - 1 - step if plan.reverse else step)

  def window(ref, step, buffer):
    size, width = buffer.shape[-2:]
    rows = pl.ds(chunk(step) * size, size)
    # All keys, but of the values this thread block's.
    return ref.at[rows] if width == ref.shape[1] else ref.at[rows, columns]

  def fetch(step):
    slot = lax.rem(step, 2)
    for stream, buffer in zip(streams, buffers, strict=True):
      source = window(stream, step, buffer)
      plgpu.copy_gmem_to_smem(source, buffer.at[slot], arrived.at[slot])

  def advance(step, state):
    slot = lax.rem(step, 2)
    read, write, update, *addend = (buffer.at[slot] for buffer in buffers)
    gate = whole[chunk(step)]
    _publish(state, entering, window(states, step, entering))

    # Behind a barrier, so that the chunk before is done with these buffers.
    @pl.when(step + 1 < plan.num_chunks)
    def _():
      fetch(step + 1)

    plgpu.barrier_wait(arrived.at[slot])
    total = update[...].astype(jnp.float32) + _product(read, entering)
    _publish(total, result, window(written, step, result))
    state = gate * state + _product(plgpu.transpose_ref(write, (1, 0)), result)
    for one in addend:
      state += one[...].astype(jnp.float32)
    return state

  fetch(0)
  state = lax.fori_loop(0, plan.num_chunks, advance, state)
  plgpu.wait_smem_to_gmem(0, wait_read_only=True)
  return state


def _publish(value: Array, buffer, target) -> None:
  """Rounded into a buffer for products, and from there to memory."""
  # Two buffers take turns: the copy before the last was of this one.
  plgpu.wait_smem_to_gmem(1, wait_read_only=True)
  buffer[...] = value.astype(buffer.dtype)
  plgpu.commit_smem()
  plgpu.copy_smem_to_gmem(buffer, target)


def _product(x, y) -> Array:
  """x y of buffers, in registers."""

  def multiply(total):
    plgpu.wgmma(total, x, y)
    return total[...]

  return pl.run_scoped(multiply, plgpu.ACC((x.shape[0], y.shape[1])))


def _shared(shape: tuple[int, ...], dtype):
  """Scratch laid out as products and the copy engine want it."""
  bits = jnp.dtype(dtype).itemsize * 8
  swizzle = plgpu.find_swizzle(shape[-1] * bits)
  tiling = plgpu.TilingTransform((8, swizzle * 8 // bits))
  transforms = tiling, plgpu.SwizzleTransform(swizzle)
  return plgpu.SMEM(shape, dtype, transforms=transforms)
