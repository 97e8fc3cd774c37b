"""Softmax attention by JAX's splash attention, a Pallas kernel for TPUs.

Compiled for v5e, v5p and v6e; not run on hardware. On a CPU the kernel is
interpreted: slow, and meant for tests.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.pallas.ops.tpu import splash_attention as splash

from backbone.array_types import Array, Float, Int
from backbone.kernels import dispatch

_LANES = 128


@dataclasses.dataclass(frozen=True)
class Blocks:
  """Tokens in a block: multiples of the 128 lanes of a TPU's registers.

  Attributes:
    queries: Of queries, in every kernel.
    keys: Of keys and values, in every kernel; a multiple of `queries`.
    is_backward_fused: One backward kernel instead of two. It stores a partial
      query gradient for every block of keys, in the type of `query`.
  """

  queries: int
  keys: int
  is_backward_fused: bool = False

  def __post_init__(self):
    if self.queries <= 0 or self.queries % _LANES:
      raise ValueError(f'queries={self.queries} is no multiple of {_LANES}')
    if self.keys <= 0 or self.keys % self.queries:
      raise ValueError(f'keys={self.keys} is no multiple of {self.queries}')

  @classmethod
  def by_default(cls, length: int, window: int | None) -> 'Blocks':
    """As few blocks as possible, of 512 queries and 1,024 keys at most.

    A small window takes blocks of its size, so that three are visited, though
    none so small that a step of the grid costs more than its products.
    """
    longest = 512 if window is None else min(max(window, 256), 512)
    num_blocks = -(-length // longest)
    queries = _whole_lanes(-(-length // num_blocks))
    is_paired = window is None and num_blocks % 2 == 0
    keys = 2 * queries if is_paired else queries
    return cls(queries, keys, is_backward_fused=keys >= length)


def _whole_lanes(length: int) -> int:
  return length + -length % _LANES


class _Band(splash.Mask):
  """Tokens at most `window` apart, in time that no block's size enters.

  Splash asks of a block only whether any and whether all of it is visible,
  and takes the mask of a partly visible one from `mask_function`. Its own
  masks answer with the whole block: minutes of numpy at 131,072 tokens.
  """

  def __init__(self, length: int, window: int | None):
    self._length = length
    self._window = length if window is None else window
    if self._window < length - 1:
      self.q_sequence = np.arange(length, dtype=np.int32)
      self.mask_function = _Within(self._window)

  @property
  def shape(self) -> tuple[int, int]:
    return self._length, self._length

  def __getitem__(self, index) -> np.ndarray:
    rows, columns = index
    first, last = rows.start - columns.stop + 1, rows.stop - columns.start - 1
    nearest = max(first, -last, 0)
    farthest = max(last, -first)
    return np.array([[nearest <= self._window, farthest <= self._window]])

  def __eq__(self, other) -> bool:
    return isinstance(other, _Band) and hash(self) == hash(other)

  def __hash__(self) -> int:
    return hash((self._length, self._window))


@dataclasses.dataclass(frozen=True)
class _Within:
  """Compared by value, so that the kernel is traced once."""

  window: int

  def __call__(self, rows, columns):
    return (rows - columns <= self.window) & (columns - rows <= self.window)


def attention(
  query: Float[Array, 'B T H K'],
  key: Float[Array, 'B T H K'],
  value: Float[Array, 'B T H V'],
  segment_ids: Int[Array, 'B T'],
  window: int | None,
  *,
  blocks: Blocks | None = None,
  interpret: bool | None = None,
) -> Float[Array, 'B T H V']:
  """`reference.attention`; operands in their own type, sums in float32.

  On a TPU products of float32 follow `jax.default_matmul_precision`, as they
  do outside of the kernel.

  Args:
    blocks: By default `Blocks.by_default`.
    interpret: By default on a CPU.

  Raises:
    NotImplementedError: On a platform that is neither a TPU nor a CPU.
  """
  platform = dispatch.platform()
  if platform not in ('tpu', 'cpu'):
    raise NotImplementedError(f"'pallas_tpu' does not run on {platform}")
  length, num_heads = query.shape[1:3]
  blocks = blocks or Blocks.by_default(length, window)
  padding = -length % blocks.keys

  def by_head(x):
    x = jnp.pad(x, ((0, 0), (0, padding), (0, 0), (0, 0)))
    return jnp.swapaxes(x, 1, 2)

  # Padding is a segment of its own: no real query sees it.
  segments = jnp.pad(segment_ids, ((0, 0), (0, padding)), constant_values=-1)
  run = splash.make_splash_mha(
    splash.MultiHeadMask([_Band(length + padding, window)] * num_heads),
    block_sizes=_block_sizes(blocks),
    head_shards=1,
    q_seq_shards=1,
    interpret=platform == 'cpu' if interpret is None else interpret,
  )
  query = (query * query.shape[-1] ** -0.5).astype(query.dtype)
  output = jax.vmap(run)(
    by_head(query),
    by_head(key),
    by_head(value),
    splash.SegmentIds(segments, segments),
  )
  return jnp.swapaxes(output, 1, 2)[:, :length].astype(value.dtype)


def _block_sizes(blocks: Blocks) -> splash.BlockSizes:
  is_fused = blocks.is_backward_fused
  return splash.BlockSizes(
    block_q=blocks.queries,
    block_kv=blocks.keys,
    block_q_dkv=blocks.queries,
    block_kv_dkv=blocks.keys,
    block_q_dq=None if is_fused else blocks.queries,
    block_kv_dq=None if is_fused else blocks.keys,
    use_fused_bwd_kernel=is_fused,
  )
