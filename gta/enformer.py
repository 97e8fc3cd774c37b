"""Enformer (Avsec et al., doi:10.1038/s41592-021-01252-x), as a frozen trunk.

From 196,608 bases to 896 vectors of 128 bases each, as the public weights were
trained (enformer_weights.py reads them). Only inference: batch statistics are
constants, and nothing is dropped.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from backbone.array_types import Array, Float, PRNGKey
from backbone.nn.affine import add_bias, affine
from backbone.nn.linear import Linear
from backbone.nn.norm import LayerNorm
from backbone.nn.stack import Stack
from gta.enformer_positions import position_features, relative_shift

NUM_BASES = 4
# Of scale and shift of batches; Sonnet's default, and that of torch.
_EPSILON = 1e-5


@dataclasses.dataclass(frozen=True)
class EnformerConfig:
  """Sizes; the defaults are those of the published weights.

  Attributes:
    num_bases: Of the input.
    width: Of the transformer; the stem has half of it.
    tower: Widths of the convolutional blocks, each of which halves the length.
    num_layers: Of the transformer; 0 is none.
    num_heads: Of attention.
    key_width: K of a head; values have width / num_heads.
    num_targets: Bins of the output, from the middle.
    head_sizes: Tracks of each head.
    num_position_features: Of distance, a multiple of 6.
    has_statistics: Whether norms have means and variances of the batches that
      the weights were trained on, which are constants; without, norms scale
      and shift alone, and all can be trained.
  """

  num_bases: int = 196_608
  width: int = 1_536
  tower: tuple[int, ...] = (768, 896, 1_024, 1_152, 1_280, 1_536)
  num_layers: int = 11
  num_heads: int = 8
  key_width: int = 64
  num_targets: int = 896
  head_sizes: tuple[tuple[str, int], ...] = (('human', 5_313), ('mouse', 1_643))
  num_position_features: int = 192
  has_statistics: bool = True

  def __post_init__(self):
    if self.num_bases % self.bases_per_bin:
      raise ValueError(
        f'num_bases={self.num_bases} is no multiple of {self.bases_per_bin}'
      )
    if not 0 < self.num_targets <= self.num_bins:
      raise ValueError(
        f'num_targets={self.num_targets} of {self.num_bins} bins'
      )
    if self.tower[-1] != self.width or self.width % self.num_heads:
      raise ValueError('width must end the tower, and num_heads divide it')
    if self.num_position_features % 6:
      raise ValueError('num_position_features must be a multiple of 6')

  @property
  def bases_per_bin(self) -> int:
    """128 for the published one."""
    return 2 ** (1 + len(self.tower))

  @property
  def num_bins(self) -> int:
    """Vectors before the crop."""
    return self.num_bases // self.bases_per_bin


def gelu(x: Float[Array, '*s']) -> Float[Array, '*s']:
  """x sigmoid(1.702 x), which the weights were trained with."""
  return x * jax.nn.sigmoid(1.702 * x)


class Convolution(nnx.Module):
  """Along the length, zeros around it, with a bias."""

  def __init__(self, inputs: int, outputs: int, size: int, *, rngs: nnx.Rngs):
    scale = (size * inputs) ** -0.5
    kernel = jax.random.normal(rngs.params(), (size, inputs, outputs))
    self.kernel = nnx.Param(scale * kernel)
    self.bias = nnx.Param(jnp.zeros(outputs))

  def __call__(self, x: Float[Array, 'B N _']) -> Float[Array, 'B N _']:
    kernel = self.kernel[...].astype(x.dtype)
    y = jax.lax.conv_general_dilated(
      x, kernel, (1,), 'SAME', dimension_numbers=('NWC', 'WIO', 'NWC')
    )
    return add_bias(y, self.bias[...].astype(x.dtype))


class ConvolutionBlock(nnx.Module):
  """convolution(gelu(norm(x))), the norm by the statistics of training."""

  def __init__(
    self,
    inputs: int,
    outputs: int,
    size: int,
    has_statistics: bool,
    *,
    rngs: nnx.Rngs,
  ):
    self.scale = nnx.Param(jnp.ones(inputs))
    self.offset = nnx.Param(jnp.zeros(inputs))
    self.mean = nnx.Param(jnp.zeros(inputs)) if has_statistics else None
    self.variance = nnx.Param(jnp.ones(inputs)) if has_statistics else None
    self.convolution = Convolution(inputs, outputs, size, rngs=rngs)

  def __call__(self, x: Float[Array, 'B N _']) -> Float[Array, 'B N _']:
    scale, offset = self.scale[...], self.offset[...]
    if self.mean is not None:
      scale *= jax.lax.rsqrt(self.variance[...] + _EPSILON)
      offset -= self.mean[...] * scale
    x = affine(x, scale.astype(x.dtype), offset.astype(x.dtype))
    return self.convolution(gelu(x))


class SoftmaxPool(nnx.Module):
  """Of every two vectors their mean, weighted for each channel by a softmax."""

  def __init__(self, width: int):
    self.kernel = nnx.Param(2 * jnp.eye(width))

  def __call__(self, x: Float[Array, 'B N D']) -> Float[Array, 'B M D']:
    first, second = x[:, ::2], x[:, 1::2]
    # softmax of two: of their difference alone, half the product.
    weight = jax.nn.sigmoid((first - second) @ self.kernel[...].astype(x.dtype))
    return second + weight * (first - second)


class TowerBlock(nnx.Module):
  """convolution, x + pointwise convolution, pool."""

  def __init__(
    self, inputs: int, outputs: int, has_statistics: bool, *, rngs: nnx.Rngs
  ):
    self.convolution = ConvolutionBlock(
      inputs, outputs, 5, has_statistics, rngs=rngs
    )
    self.pointwise = ConvolutionBlock(
      outputs, outputs, 1, has_statistics, rngs=rngs
    )
    self.pool = SoftmaxPool(outputs)

  def __call__(self, x: Float[Array, 'B N _']) -> Float[Array, 'B M _']:
    x = self.convolution(x)
    return self.pool(x + self.pointwise(x))


class Attention(nnx.Module):
  """Softmax attention whose scores depend on contents and on distance."""

  def __init__(self, config: EnformerConfig, *, rngs: nnx.Rngs):
    heads, width = config.num_heads, config.width
    keys = heads, config.key_width
    self.query = Linear(width, keys, rngs=rngs)
    self.key = Linear(width, keys, rngs=rngs)
    self.value = Linear(width, (heads, width // heads), rngs=rngs)
    self.position = Linear(config.num_position_features, keys, rngs=rngs)
    self.content_bias = nnx.Param(jnp.zeros(keys))
    self.position_bias = nnx.Param(jnp.zeros(keys))
    self.output = Linear((heads, width // heads), width, rngs=rngs)
    self.output_bias = nnx.Param(jnp.zeros(width))
    self.num_position_features = config.num_position_features

  def __call__(self, x: Float[Array, 'B T D']) -> Float[Array, 'B T D']:
    length = x.shape[1]
    features = position_features(length, self.num_position_features)
    position = self.position(jnp.asarray(features, x.dtype))
    # Scaled before the biases are added, as published.
    query = self.query(x) * self.content_bias.shape[-1] ** -0.5
    key, value = self.key(x), self.value(x)
    about_content = query + self.content_bias[...].astype(x.dtype)
    about_distance = query + self.position_bias[...].astype(x.dtype)
    scores = jnp.einsum('bihk,bjhk->bhij', about_content, key)
    by_distance = jnp.einsum('bihk,rhk->bhir', about_distance, position)
    scores += relative_shift(by_distance)
    weights = jax.nn.softmax(scores.astype(jnp.float32)).astype(x.dtype)
    mixed = jnp.einsum('bhij,bjhv->bihv', weights, value)
    return self.output(mixed) + self.output_bias[...].astype(x.dtype)


class TransformerBlock(nnx.Module):
  """x + attention(norm(x)), then x + down(relu(up(norm(x))))."""

  def __init__(self, config: EnformerConfig, *, rngs: nnx.Rngs):
    width = config.width
    self.attention_norm = LayerNorm(width)
    self.attention = Attention(config, rngs=rngs)
    self.mlp_norm = LayerNorm(width)
    self.up = Linear(width, 2 * width, rngs=rngs)
    self.up_bias = nnx.Param(jnp.zeros(2 * width))
    self.down = Linear(2 * width, width, rngs=rngs)
    self.down_bias = nnx.Param(jnp.zeros(width))

  def __call__(self, x: Float[Array, 'B T D']) -> Float[Array, 'B T D']:
    x = x + self.attention(self.attention_norm(x))
    hidden = self.up(self.mlp_norm(x)) + self.up_bias[...].astype(x.dtype)
    down = self.down(jax.nn.relu(hidden))
    return x + down + self.down_bias[...].astype(x.dtype)


class Enformer(nnx.Module):
  """The trunk, and a head for each species."""

  def __init__(self, config: EnformerConfig, *, key: PRNGKey):
    rngs, width = nnx.Rngs(key), config.width
    stem = width // 2
    self.stem = Convolution(NUM_BASES, stem, 15, rngs=rngs)
    has_statistics = config.has_statistics
    self.stem_pointwise = ConvolutionBlock(
      stem, stem, 1, has_statistics, rngs=rngs
    )
    self.stem_pool = SoftmaxPool(stem)
    inputs = (stem, *config.tower[:-1])
    self.tower = nnx.List(
      [
        TowerBlock(*sizes, has_statistics, rngs=rngs)
        for sizes in zip(inputs, config.tower, strict=True)
      ]
    )
    key = rngs.params()
    self.transformer = (
      Stack(
        lambda rngs: TransformerBlock(config, rngs=rngs),
        config.num_layers,
        remat='none',
        key=key,
      )
      if config.num_layers
      else None
    )
    self.final = ConvolutionBlock(
      width, 2 * width, 1, has_statistics, rngs=rngs
    )
    self.heads = nnx.Dict(
      {
        name: Head(2 * width, size, rngs=rngs)
        for name, size in config.head_sizes
      }
    )
    self.config = config

  def features(self, bases: Float[Array, 'B N 4']) -> Float[Array, 'B T D']:
    """A vector for each bin in the middle.

    Args:
      bases: One-hot A C G T; zeros for any other.
    """
    x = self.bins(bases)
    return self.finish(x if self.transformer is None else self.transformer(x))

  def bins(self, bases: Float[Array, 'B N 4']) -> Float[Array, 'B T D']:
    """What the tower makes of them, before the transformer."""
    x = self.stem(bases)
    x = self.stem_pool(x + self.stem_pointwise(x))
    for block in self.tower:
      x = block(x)
    return x

  def finish(self, x: Float[Array, 'B T _']) -> Float[Array, 'B U D']:
    """Those in the middle, after the last convolution."""
    left = (x.shape[1] - self.config.num_targets) // 2
    x = x[:, left : left + self.config.num_targets]
    return gelu(self.final(x))

  def tracks(
    self, features: Float[Array, 'B T D'], species: str
  ) -> Float[Array, 'B T _']:
    """Predicted coverage of the tracks of a species."""
    return self.heads[species](features)


class Head(nnx.Module):
  """softplus(x W + b)."""

  def __init__(self, width: int, num_tracks: int, *, rngs: nnx.Rngs):
    self.projection = Linear(width, num_tracks, rngs=rngs)
    self.bias = nnx.Param(jnp.zeros(num_tracks))

  def __call__(self, x: Float[Array, 'B T D']) -> Float[Array, 'B T _']:
    return jax.nn.softplus(self.projection(x) + self.bias[...].astype(x.dtype))
