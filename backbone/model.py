"""The backbone: a hybrid bidirectional encoder of packed token vectors."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from backbone.array_types import Array, Float, Int, PRNGKey
from backbone.nn.attention import Attention
from backbone.nn.block import Block
from backbone.nn.delta import GatedDelta
from backbone.nn.norm import RMSNorm
from backbone.nn.stack import Remat, Stack

# delta: gated delta rule; attention: softmax over the whole segment; local:
# softmax over `window` tokens to either side.
LayerKind = Literal['delta', 'attention', 'local']

_FIVE_TO_ONE = ('delta',) * 5


@dataclasses.dataclass(frozen=True)
class BackboneConfig:
  """Shape of a backbone.

  Attributes:
    pattern: Layers of a super-block, repeated `num_super_blocks` times.
    num_super_blocks: Super-blocks, stacked and scanned.
    width: D.
    hidden: F of the feed-forward blocks; 8/3 D gives 8 D² weights.
    num_heads: Heads of a softmax layer.
    window: Reach of a 'local' layer, in tokens to either side.
    rope_base: Base of the rotary positions of softmax layers.
    delta_heads: Heads of a delta layer, even: half of them each way.
    delta_key_width, delta_value_width: K and V of a delta head.
    convolution: Short convolution of the delta layers, 'symmetric' or 'causal'
      (each head looks only where its direction has been).
    convolution_size: Its taps.
    allow_negative_eigenvalues: β in (0, 2) instead of (0, 1).
    remat: What the backward pass recomputes.
    dtype: Type of activations; parameters are float32.
    implementation: Kernels by name; None takes the platform's best.
  """

  pattern: tuple[LayerKind, ...] = (*_FIVE_TO_ONE, 'attention')
  num_super_blocks: int = 1
  width: int = 256
  hidden: int = 704
  num_heads: int = 8
  window: int = 128
  rope_base: float = 10_000.0
  delta_heads: int = 6
  delta_key_width: int = 32
  delta_value_width: int = 64
  convolution: Literal['symmetric', 'causal'] = 'symmetric'
  convolution_size: int = 3
  allow_negative_eigenvalues: bool = False
  remat: Remat = 'none'
  dtype: str = 'float32'
  implementation: str | None = None

  def __post_init__(self):
    if unknown := set(self.pattern) - {'delta', 'attention', 'local'}:
      raise ValueError(f'unknown layer kinds {sorted(unknown)} in pattern')
    if self.width % (2 * self.num_heads):
      raise ValueError(
        f'width {self.width} is no multiple of 2 x num_heads {self.num_heads}'
      )
    if self.delta_heads % 2:
      raise ValueError(f'delta_heads must be even, not {self.delta_heads}')


# Block weights in the name's unit follow 12 D² a softmax layer, 14 D² a delta
# layer (our sizes; Life-Code's are not published).
PRESETS = {
  '1m': BackboneConfig(
    pattern=('delta', 'delta', 'delta', 'local'),
    width=128,
    hidden=352,
    num_heads=4,
    delta_heads=4,
    delta_key_width=24,
    delta_value_width=48,
  ),
  '5m': BackboneConfig(),
  '40m': BackboneConfig(
    num_super_blocks=2,
    width=512,
    hidden=1_408,
    delta_key_width=64,
    delta_value_width=128,
  ),
  '100m': BackboneConfig(
    num_super_blocks=2,
    width=768,
    hidden=2_048,
    num_heads=12,
    delta_key_width=96,
    delta_value_width=192,
    remat='dots',
    dtype='bfloat16',
  ),
  '350m': BackboneConfig(
    num_super_blocks=4,
    width=1_024,
    hidden=2_816,
    num_heads=16,
    delta_key_width=128,
    delta_value_width=256,
    remat='block',
    dtype='bfloat16',
  ),
}


def preset(size: str, **changes: Any) -> BackboneConfig:
  """A preset by size ('1m', …, '350m'), with fields of it replaced.

  Raises:
    ValueError: No preset of that size.
    TypeError: A change names no field of `BackboneConfig`.
  """
  if size not in PRESETS:
    raise ValueError(f'no preset {size!r}: choose from {", ".join(PRESETS)}')
  return dataclasses.replace(PRESETS[size], **changes)


class Backbone(nnx.Module):
  """Super-blocks of delta and softmax layers, then a norm."""

  def __init__(self, config: BackboneConfig, *, key: PRNGKey):
    self.config = config
    self.blocks = Stack(
      lambda rngs: SuperBlock(config, rngs=rngs),
      config.num_super_blocks,
      remat=config.remat,
      key=key,
    )
    self.norm = RMSNorm(config.width)

  def __call__(
    self,
    x: Float[Array, 'B T D'],
    segment_ids: Int[Array, 'B T'],
    positions: Int[Array, 'B T'],
  ) -> Float[Array, 'B T D']:
    """Encodes token vectors.

    Args:
      x: Token vectors.
      segment_ids: Packed sequences; nothing crosses from one to another.
      positions: Token position within its segment.
    """
    x = x.astype(jnp.dtype(self.config.dtype))
    return self.norm(self.blocks(x, segment_ids, positions))


class SuperBlock(nnx.Module):
  """One repetition of the layer pattern."""

  def __init__(self, config: BackboneConfig, *, rngs: nnx.Rngs):
    # One stream a block: a parameter added to one moves no other's start.
    keys = jax.random.split(rngs.params(), len(config.pattern))
    self.blocks = nnx.List(
      [
        make_block(config, kind, rngs=nnx.Rngs(key))
        for kind, key in zip(config.pattern, keys, strict=True)
      ]
    )

  def __call__(
    self,
    x: Float[Array, 'B T D'],
    segment_ids: Int[Array, 'B T'],
    positions: Int[Array, 'B T'],
  ) -> Float[Array, 'B T D']:
    for block in self.blocks:
      x = block(x, segment_ids, positions)
    return x


def make_block(
  config: BackboneConfig, kind: LayerKind, *, rngs: nnx.Rngs
) -> Block:
  """A block with the mixer of that kind."""
  if kind == 'delta':
    mixer = GatedDelta(
      config.width,
      config.delta_heads,
      config.delta_key_width,
      config.delta_value_width,
      convolution=config.convolution,
      convolution_size=config.convolution_size,
      allow_negative_eigenvalues=config.allow_negative_eigenvalues,
      implementation=config.implementation,
      rngs=rngs,
    )
  else:
    mixer = Attention(
      config.width,
      config.num_heads,
      window=config.window if kind == 'local' else None,
      rope_base=config.rope_base,
      implementation=config.implementation,
      rngs=rngs,
    )
  return Block(mixer, config.width, config.hidden, rngs=rngs)
