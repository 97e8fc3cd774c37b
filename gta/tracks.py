"""Tracks along a window, from its sequence: what trunks are trained on."""

import dataclasses
from typing import Any, Literal, get_args

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
# Deviation of a new tower's bins, where shares have about 1 (ours).
_BESIDE_COMPOSITION = 0.3
Noise = Literal['poisson', 'normal']


@dataclasses.dataclass(frozen=True)
class EnformerTrunk:
  """A trunk of Enformer's family of any size, trained from nothing.

  Attributes:
    config: Sizes. Its norms have no statistics of batches.
    backbone: Our hybrid backbone over the tower's bins, in the place of the
      transformer, which has no layers then; None is none.
    composition: Sizes of windows around a bin, in bases, whose shares of CpG
      and of G or C are read beside the tower (ours): what a new tower tells of
      a few dozen windows is mostly noise.
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
    if composition:
      scale *= _BESIDE_COMPOSITION
    self.composition = (
      Linear(2 * len(composition), config.width, rngs=nnx.Rngs(key))
      if composition
      else None
    )
    self.sizes = composition
    self.scale = nnx.Param(scale)
    self.offset = nnx.Param(-scale * bins.mean((0, 1)))
    self.backbone = (
      None if backbone is None else Backbone(backbone, key=backbone_key)
    )
    self.bin_size = config.bases_per_bin

  def __call__(self, batch: Batch) -> Float[Array, 'B M D']:
    bases = _one_hot(batch)
    x = self.enformer.bins(bases) * self.scale[...] + self.offset[...]
    if self.composition is not None:
      x += self.composition(shares_around(bases, self.bin_size, self.sizes))
    if self.backbone is None:
      return self.enformer.finish(self.enformer.transformer(x))
    segments = batch['segment_ids'].reshape(*x.shape[:2], -1).max(-1)
    positions = batch['positions'][:, :: self.bin_size] // self.bin_size
    return self.enformer.finish(self.backbone(x, segments, positions))


class TrackModel(nnx.Module):
  """A trunk, and a number for every bin of every track."""

  def __init__(
    self,
    trunk: Any,
    num_tracks: int,
    target_bin: int,
    composition: tuple[int, ...],
    *,
    key: PRNGKey,
  ):
    """Draws the weights; the tracks are flat.

    Args:
      trunk: Its configuration.
      num_tracks: T.
      target_bin: Bases of a bin of the tracks.
      composition: See `Tracks`.
      key: Of all that is drawn.
    """
    self.trunk = trunk.build(key)
    # Of every bin of a vector its own.
    split = trunk.bin_size // target_bin
    self.tracks_head = _flat(trunk.width, split * num_tracks, key)
    self.bias = nnx.Param(jnp.zeros(num_tracks))
    self.composition_head = (
      _flat(2 * len(composition), num_tracks, key) if composition else None
    )
    self.sizes, self.split, self.target_bin = composition, split, target_bin

  def __call__(self, batch: Batch, num_bins: int) -> Float[Array, 'B M T']:
    """Of the bins in the middle."""
    vectors = _middle(self.trunk(batch), num_bins // self.split)
    found = self.tracks_head(vectors).reshape(len(vectors), num_bins, -1)
    if self.composition_head is not None:
      shares = shares_around(_one_hot(batch), self.target_bin, self.sizes)
      found += self.composition_head(_middle(shares, num_bins))
    return found + self.bias[...]


def _flat(inputs: int, outputs: int, key: PRNGKey) -> Linear:
  """Zero to begin with."""
  made = Linear(inputs, outputs, rngs=nnx.Rngs(key))
  made.kernel[...] = jnp.zeros_like(made.kernel[...])
  return made


def _one_hot(batch: Batch) -> Float[Array, 'B N 4']:
  is_inside = (batch['segment_ids'] > 0)[..., None]
  return jax.nn.one_hot(batch['sequence'], NUM_BASES) * is_inside


def _middle(x: Float[Array, 'B M D'], number: int) -> Float[Array, 'B U D']:
  left = (x.shape[1] - number) // 2
  return x[:, left : left + number]


@dataclasses.dataclass(frozen=True)
class Tracks:
  """Regression of log(1 + coverage) along windows.

  Basenji, Enformer and Borzoi have a Poisson likelihood of coverage; the
  logarithm (ours) lets few high peaks count for less. Every track starts at its
  mean.

  Attributes:
    trunk: Has build(key), `width` and `bin_size`.
    num_tracks: T, of all genomes.
    target_bin: Bases of a bin of the tracks.
    composition: Sizes of windows around a bin, in whose shares of CpG and of G
      or C every track has a linear term of its own: what a ridge finds
      (`held_out_tracks`) need not be found by the trunk.
    noise: Poisson, whose expectation is about exponential in what the trunk
      gives, or normal with the deviation of each track, where it is linear,
      which is steadier with few windows (ours).
  """

  trunk: Any
  num_tracks: int
  target_bin: int = 32
  composition: tuple[int, ...] = ()
  noise: Noise = 'poisson'

  def __post_init__(self):
    if self.trunk.bin_size % self.target_bin:
      raise ValueError(
        f'trunk.bin_size {self.trunk.bin_size} is no multiple of target_bin '
        f'{self.target_bin}'
      )
    if self.noise not in get_args(Noise):
      raise ValueError(f'noise {self.noise!r} is none of {get_args(Noise)}')

  def init(self, key: PRNGKey) -> tuple[nnx.Module, PyTree]:
    """The model; nothing beside it."""
    model = TrackModel(
      self.trunk, self.num_tracks, self.target_bin, self.composition, key=key
    )
    return model, ()

  def predict(self, model: TrackModel, batch: Batch) -> Float[Array, 'B M T']:
    """Coverage of each bin of each track.

    Raises:
      InputError: The data have another number of tracks.
    """
    return jnp.expm1(jnp.maximum(self._logarithm(model, batch), 0))

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
    found, mean = model(batch, num_bins), batch['mean'][:, None]
    if self.noise == 'normal':
      return mean + found * batch['deviation'][:, None]
    # What softplus makes the mean of; about its logarithm, means being small.
    return jax.nn.softplus(found + jnp.log(jnp.expm1(mean)))

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
    target, found = jnp.log1p(batch['target']), self._logarithm(model, batch)
    if self.noise == 'normal':
      each = jnp.square((found - target) / batch['deviation'][:, None])
    else:
      each = deviance_of(found, target) / batch['mean'][:, None]
    per_window = (each.mean(1) * batch['share']).sum(-1)
    weight = batch['weight'][:, 0]
    error = Mean((per_window * weight).sum(), weight.sum())
    loss = error.total / jnp.maximum(error.weight, 1)
    return loss, (aux, {'error': error})


def deviance_of(
  found: Float[Array, '*S'], target: Float[Array, '*S']
) -> Float[Array, '*S']:
  """Half of the Poisson deviance: 0 for a perfect prediction."""
  each = found - target * jnp.log(found + _EPSILON)
  return each - (target - target * jnp.log(target + _EPSILON))
