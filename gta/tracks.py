"""Tracks along a window, from its sequence: what trunks are trained on."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from backbone.array_types import (
  Array,
  Batch,
  Float,
  Mean,
  PRNGKey,
  PyTree,
  Scalar,
)
from backbone.model import Backbone, BackboneConfig
from backbone.nn.linear import Linear
from data_pipelines.errors import InputError
from gta.composition import shares_around
from gta.enformer import NUM_BASES, Enformer, EnformerConfig

_EPSILON = 1e-6


@dataclasses.dataclass(frozen=True)
class EnformerTrunk:
  """A trunk of Enformer's family of any size, trained from nothing.

  Attributes:
    config: Sizes. Its norms have no statistics of batches.
    backbone: Our hybrid backbone over the tower's bins, in the place of the
      transformer, which has no layers then; None is none.
    composition: Sizes of windows around a bin, whose shares of CpG and of G or
      C stand beside what the tower makes of it.
  """

  config: EnformerConfig
  backbone: BackboneConfig | None = None
  composition: tuple[int, ...] = ()

  def __post_init__(self):
    if self.backbone is None:
      return
    if self.backbone.width != self.config.width:
      raise ValueError(
        f'width {self.config.width} is not that of the backbone, '
        f'{self.backbone.width}'
      )
    if self.config.num_layers:
      raise ValueError(
        f'num_layers={self.config.num_layers}: a backbone needs 0 of them'
      )

  @property
  def bin_size(self) -> int:
    """Bases of a vector."""
    return self.config.bases_per_bin

  @property
  def width(self) -> int:
    """D, of a vector."""
    return 2 * self.config.width

  def build(self, key: PRNGKey) -> 'EnformerBins':
    """New weights."""
    whole = dataclasses.replace(
      self.config,
      num_targets=self.config.num_bins,
      head_sizes=(),
      has_statistics=False,
    )
    return EnformerBins(whole, self.backbone, self.composition, key=key)


class EnformerBins(nnx.Module):
  """Enformer without heads, called with a batch."""

  def __init__(
    self,
    config: EnformerConfig,
    backbone: BackboneConfig | None = None,
    composition: tuple[int, ...] = (),
    *,
    key: PRNGKey,
  ):
    tower_key, backbone_key, key = jax.random.split(key, 3)
    self.enformer = Enformer(config, key=tower_key)
    # Along random bases bins vary little beside what is the same in all of
    # them, which is hard to learn from. Without statistics of batches it is
    # mended once, here.
    shape = 1, config.num_bases
    drawn = jax.random.randint(key, shape, 0, NUM_BASES)
    bins = self.enformer.bins(jax.nn.one_hot(drawn, NUM_BASES))
    scale = 1 / (bins.std((0, 1)) + _EPSILON)
    self.scale = nnx.Param(scale)
    self.offset = nnx.Param(-scale * bins.mean((0, 1)))
    self.composition_in = (
      Linear(2 * len(composition), config.width, rngs=nnx.Rngs(key))
      if composition
      else None
    )
    self.backbone = (
      None if backbone is None else Backbone(backbone, key=backbone_key)
    )
    self.sizes = composition
    self.bin_size = config.bases_per_bin

  def __call__(self, batch: Batch) -> Float[Array, 'B M D']:
    is_inside = (batch['segment_ids'] > 0)[..., None]
    bases = jax.nn.one_hot(batch['sequence'], NUM_BASES) * is_inside
    x = self.enformer.bins(bases) * self.scale[...] + self.offset[...]
    if self.composition_in is not None:
      shares = shares_around(bases, self.bin_size, self.sizes)
      x = x + self.composition_in(shares)
    if self.backbone is None:
      return self.enformer.finish(self.enformer.transformer(x))
    segments = batch['segment_ids'].reshape(*x.shape[:2], -1).max(-1)
    positions = batch['positions'][:, :: self.bin_size] // self.bin_size
    return self.enformer.finish(self.backbone(x, segments, positions))


class TrackModel(nnx.Module):
  """A trunk, and a number for every bin of every track."""

  def __init__(self, trunk: Any, split: int, num_tracks: int, *, key: PRNGKey):
    """Draws the weights.

    Args:
      trunk: Its configuration.
      split: Bins of a vector of the trunk.
      num_tracks: T.
      key: Of all that is drawn.
    """
    trunk_key, head_key = jax.random.split(key)
    self.trunk = trunk.build(trunk_key)
    # Of every bin of a vector its own.
    self.tracks_head = Linear(
      trunk.width, split * num_tracks, rngs=nnx.Rngs(head_key)
    )
    self.bias = nnx.Param(jnp.zeros(num_tracks))
    self.split = split

  def __call__(self, batch: Batch, num_bins: int) -> Float[Array, 'B M T']:
    """Of the bins in the middle."""
    vectors = self.trunk(batch)
    left = (vectors.shape[1] - num_bins // self.split) // 2
    vectors = vectors[:, left : left + num_bins // self.split]
    found = self.tracks_head(vectors)
    return found.reshape(len(found), num_bins, -1) + self.bias[...]


@dataclasses.dataclass(frozen=True)
class Tracks:
  """Poisson regression of log(1 + coverage).

  Basenji, Enformer and Borzoi have it of coverage; the logarithm (ours) lets
  few high peaks count for less. Every track starts at its mean.

  Attributes:
    trunk: Has build(key), `width` and `bin_size`.
    num_tracks: T, of all genomes.
    target_bin: Bases of a bin of the tracks.
  """

  trunk: Any
  num_tracks: int
  target_bin: int = 32

  def __post_init__(self):
    if self.trunk.bin_size % self.target_bin:
      raise ValueError(
        f'trunk.bin_size {self.trunk.bin_size} is no multiple of target_bin '
        f'{self.target_bin}'
      )

  def init(self, key: PRNGKey) -> tuple[nnx.Module, PyTree]:
    """The model; nothing beside it."""
    split = self.trunk.bin_size // self.target_bin
    return TrackModel(self.trunk, split, self.num_tracks, key=key), ()

  def predict(self, model: TrackModel, batch: Batch) -> Float[Array, 'B M T']:
    """Coverage of each bin of each track.

    Raises:
      InputError: The data have another number of tracks.
    """
    return jnp.expm1(self._logarithm(model, batch))

  def _logarithm(
    self, model: TrackModel, batch: Batch
  ) -> Float[Array, 'B M T']:
    """log(1 + coverage)."""
    _, num_bins, num_tracks = batch['target'].shape
    if num_tracks != self.num_tracks:
      raise InputError(
        f'num_tracks={self.num_tracks}, the data have {num_tracks}; set '
        'objective.num_tracks, or assays of data.genomes'
      )
    # What softplus makes the mean of; about its logarithm, means being small.
    start = jnp.log(jnp.expm1(batch['mean']))
    return jax.nn.softplus(model(batch, num_bins) + start[:, None])

  def loss(
    self,
    model: TrackModel,
    aux: PyTree,
    batch: Batch,
    key: PRNGKey,
    *,
    train: bool,
  ) -> tuple[Scalar, tuple[PyTree, dict[str, Mean]]]:
    """Negative log likelihood, but for what no prediction changes."""
    del key, train
    target = jnp.log1p(batch['target'])
    each = deviance_of(self._logarithm(model, batch), target).mean(1)
    is_track = batch['is_track']
    # Over what the tracks of a window have together, so that genomes with many
    # of them and with few count alike.
    total = jnp.sum(batch['mean'], axis=-1, where=is_track)
    per_window = jnp.sum(each, axis=-1, where=is_track) / total
    weight = batch['weight'][:, 0]
    deviance = Mean((per_window * weight).sum(), weight.sum())
    loss = deviance.total / jnp.maximum(deviance.weight, 1)
    return loss, (aux, {'deviance': deviance})


def deviance_of(
  found: Float[Array, '*S'], target: Float[Array, '*S']
) -> Float[Array, '*S']:
  """Half of the Poisson deviance: 0 for a perfect prediction."""
  each = found - target * jnp.log(found + _EPSILON)
  return each - (target - target * jnp.log(target + _EPSILON))
