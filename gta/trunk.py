"""A small trainable trunk, for those without the weights of a large one."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

from backbone.array_types import Array, Batch, Float, PRNGKey
from backbone.model import Backbone, BackboneConfig
from backbone.nn.convolution import Convolution, largest
from backbone.nn.linear import Linear
from backbone.nn.norm import RMSNorm

_NUM_BASES, _NUM_PHASES = 4, 3
Pool = Literal['mean', 'maximum']


@dataclasses.dataclass(frozen=True)
class TrunkConfig:
  """Settings (ours).

  Attributes:
    filters: Of the first convolution.
    size: Bases that each of them sees, odd.
    stride: Bases between two places of a filter; 3 stands on codons.
    bin_size: Bases of a bin, over which their answers are pooled.
    pool: How.
    width: D, of a bin.
    backbone: Between bins; None leaves each to itself.
    reads_phase: Whether the place of a base in its codon is read, too, as the
      annotation has it.
  """

  filters: int = 128
  size: int = 9
  stride: int = 3
  bin_size: int = 24
  pool: Pool = 'mean'
  width: int = 128
  backbone: BackboneConfig | None = None
  reads_phase: bool = True

  def __post_init__(self):
    if self.bin_size % self.stride:
      raise ValueError(
        f'bin_size {self.bin_size} is no multiple of stride {self.stride}'
      )
    if self.backbone is not None and self.backbone.width != self.width:
      raise ValueError(
        f'width {self.width} is not that of the backbone, {self.backbone.width}'
      )

  def build(self, key: PRNGKey) -> 'Trunk':
    """New weights."""
    return Trunk(self, key=key)


class Trunk(nnx.Module):
  """Filters, pooled to bins, and the hybrid backbone between these."""

  def __init__(self, config: TrunkConfig, *, key: PRNGKey):
    filters_key, backbone_key = jax.random.split(key)
    rngs = nnx.Rngs(filters_key)
    channels = _NUM_BASES + _NUM_PHASES * config.reads_phase
    self.filters = Convolution(
      channels, config.filters, config.size, stride=config.stride, rngs=rngs
    )
    self.projection = Linear(config.filters, config.width, rngs=rngs)
    self.norm = RMSNorm(config.width)
    self.backbone = (
      None
      if config.backbone is None
      else Backbone(config.backbone, key=backbone_key)
    )
    self.config = config

  def __call__(self, batch: Batch) -> Float[Array, 'B M D']:
    """One vector a bin; zero where all of it is outside the contig."""
    config = self.config
    segment_ids, num = batch['segment_ids'], config.bin_size // config.stride
    # Given as they are where a gradient of them is asked for.
    is_given = 'bases' in batch
    bases = batch['bases' if is_given else 'sequence']
    inputs = [bases if is_given else jax.nn.one_hot(bases, _NUM_BASES)]
    if config.reads_phase:
      inputs.append(jax.nn.one_hot(batch['codon_phase'], _NUM_PHASES))
    x = self.filters(jnp.concatenate(inputs, axis=-1), segment_ids)
    # Of the bases that the filters stand on.
    units = segment_ids[:, config.stride // 2 :: config.stride]
    is_inside = (units > 0)[..., None].astype(x.dtype)
    if config.pool == 'maximum':
      x = jax.nn.gelu(largest(x * is_inside, num))
    else:
      x = _means(jax.nn.gelu(x) * is_inside, num)
    bins = units.reshape(len(units), -1, num).max(-1)
    x = self.norm(self.projection(x))
    if self.backbone is not None:
      positions = batch['positions'][:, :: config.bin_size] // config.bin_size
      x = self.backbone(x, bins, positions)
    return x * (bins > 0)[..., None].astype(x.dtype)


@dataclasses.dataclass(frozen=True)
class CachedConfig:
  """Features that were computed before, such as Enformer's.

  A batch has them as 'features' [B, S, D], and 'segment_ids' [B, S] that are 0
  where there are none.

  Attributes:
    width: D.
  """

  width: int = 3_072

  def build(self, key: PRNGKey) -> 'Cached':
    """No weights."""
    del key
    return Cached()


class Cached(nnx.Module):
  """Gives what the batch has."""

  def __call__(self, batch: Batch) -> Float[Array, 'B S D']:
    return batch['features'].astype(jnp.float32)


def _means(x: Float[Array, 'B N D'], num: int) -> Float[Array, 'B M D']:
  rows, length, width = x.shape
  return x.reshape(rows, length // num, num, width).mean(2)
