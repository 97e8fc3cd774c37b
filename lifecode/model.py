"""Life-Code: bases, merged to codon-sized units, encoded, and un-merged."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from backbone.array_types import Array, Batch, Float, Int, PRNGKey
from backbone.model import Backbone, BackboneConfig
from backbone.nn.convolution import ShortConvolution
from backbone.nn.embed import Embed
from backbone.nn.linear import Linear
from backbone.nn.norm import RMSNorm
from backbone.sharding import shard

# Order of the embedding table; a checkpoint carries its hash. `-` pads a row,
# `#` hides a base, `.` is spare.
VOCABULARY = 'ACGTN-#.'
MASK = VOCABULARY.index('#')
UNIT = 3


@dataclasses.dataclass(frozen=True)
class LifeCodeConfig:
  """Sizes around the backbone (unpublished: all are our choice).

  Attributes:
    backbone: The encoder of units.
    base_width: d, width of a base before three are merged.
    convolution_size: Taps of the symmetric convolution over bases, odd.
  """

  backbone: BackboneConfig
  base_width: int = 64
  convolution_size: int = 5

  def __post_init__(self):
    if self.convolution_size % 2 == 0:
      raise ValueError(
        f'convolution_size must be odd, not {self.convolution_size}'
      )


class LifeCode(nnx.Module):
  """Base embedding, convolution, merge of 3, backbone, un-merge head.

  A masked base is replaced before the embedding, so that neither the
  convolution nor the skip to the head can see behind a mask.
  """

  def __init__(self, config: LifeCodeConfig, *, key: PRNGKey):
    keys = iter(jax.random.split(key, 7))
    base, width = config.base_width, config.backbone.width

    def rngs():
      return nnx.Rngs(next(keys))

    self.embed = Embed(len(VOCABULARY), base, rngs=rngs())
    self.convolution = ShortConvolution(
      (base,), config.convolution_size, rngs=rngs()
    )
    self.projection = Linear(base, base, rngs=rngs())
    self.merge = Linear((UNIT, base), width, rngs=rngs())
    self.backbone = Backbone(config.backbone, key=next(keys))
    self.unmerge = Linear(width, (UNIT, base), rngs=rngs())
    self.head_norm = RMSNorm(base)
    self.head = Linear(base, 4, rngs=rngs())
    self.dtype = jnp.dtype(config.backbone.dtype)

  def encode(
    self,
    sequence: Int[Array, 'B N'],
    segment_ids: Int[Array, 'B N'],
    positions: Int[Array, 'B N'],
  ) -> tuple[Float[Array, 'B N//3 D'], Float[Array, 'B N d']]:
    """Vectors of units, and the base vectors they were merged from.

    Args:
      sequence: Indices into `VOCABULARY`.
      segment_ids: 0 for padding; a segment starts and ends on a unit.
      positions: Base position within the segment.
    """
    bases = self.embed(sequence, self.dtype)
    bases = self.projection(jax.nn.silu(self.convolution(bases, segment_ids)))
    rows, length, width = bases.shape
    units = self.merge(bases.reshape(rows, length // UNIT, UNIT, width))
    units = shard(units, 'batch', 'length', 'embed')
    units = self.backbone(
      units, segment_ids[:, ::UNIT], positions[:, ::UNIT] // UNIT
    )
    return units, bases

  def logits(
    self,
    sequence: Int[Array, 'B N'],
    segment_ids: Int[Array, 'B N'],
    positions: Int[Array, 'B N'],
  ) -> Float[Array, 'B N 4']:
    """Scores of A, C, G and T at every base."""
    units, bases = self.encode(sequence, segment_ids, positions)
    unmerged = self.unmerge(units).reshape(bases.shape)
    hidden = self.head_norm(jax.nn.silu(unmerged) + bases)
    return self.head(hidden).astype(jnp.float32)


def encode(model: LifeCode, batch: Batch) -> Float[Array, 'B T D']:
  """Vectors of the units of a packed batch, for probes and tables."""
  sequence = batch['sequence'].astype(jnp.int32)
  units, _ = model.encode(sequence, batch['segment_ids'], batch['positions'])
  return units.astype(jnp.float32)
