"""An encoder of words, and a softmax for the codes of each level."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from backbone.array_types import Array, Batch, Bool, Float, Int, PRNGKey
from backbone.model import Backbone, BackboneConfig
from backbone.nn.convolution import Convolution, largest
from backbone.nn.embed import Embed
from backbone.nn.linear import Linear
from backbone.nn.norm import RMSNorm
from vqdna.network import NUM_BASES
from vqdna.words import Tokens, Words


@dataclasses.dataclass(frozen=True)
class ReaderConfig:
  """Of a convolution between tokens and backbone (our addition).

  Attributes:
    width: Of a token's vector, projected.
    size: Tokens that a filter sees.
    filters: How many there are.
    pool: Tokens of a unit, of which the largest answer of each filter counts;
      the backbone is run on units.
  """

  width: int = 32
  size: int = 9
  filters: int = 256
  pool: int = 3

  def __post_init__(self):
    if min(self.width, self.size, self.filters) < 1 or not self.size % 2:
      raise ValueError('width, size and filters must be positive, size odd')
    if self.pool not in (1, 3):
      raise ValueError(f'pool={self.pool}; it must be 1 or 3')


class Reader(nnx.Module):
  """projection(gelu(max over a unit of norm(convolution)))."""

  def __init__(self, config: ReaderConfig, width: int, *, rngs: nnx.Rngs):
    self.filters = Convolution(
      config.width, config.filters, config.size, rngs=rngs
    )
    self.norm = RMSNorm(config.filters)
    self.projection = Linear(config.filters, width, rngs=rngs)
    self.pool = config.pool

  def __call__(
    self, x: Float[Array, 'B T _'], segment_ids: Int[Array, 'B T']
  ) -> Float[Array, 'B U D']:
    answers = self.norm(self.filters(x, segment_ids))
    answers *= (segment_ids > 0)[..., None].astype(answers.dtype)
    # After the maximum: of fewer vectors.
    return self.projection(jax.nn.gelu(largest(answers, self.pool)))


class CodeModel(nnx.Module):
  """From words to vectors in context, and from these to hidden words."""

  def __init__(
    self,
    words: Words,
    backbone: BackboneConfig,
    reader: ReaderConfig | None = None,
    *,
    key: PRNGKey,
  ):
    """Draws all weights.

    Args:
      words: What is read.
      backbone: The encoder.
      reader: None projects tokens to the backbone's width, as published.
    """
    pool = 1 if reader is None else reader.pool
    if 3 % (words.stride * pool):
      raise ValueError(
        f'a unit of {words.stride} x {pool} bases: segments start at multiples '
        'of three, so that a unit must have one base or three'
      )
    rngs = nnx.Rngs(key)
    width = backbone.width if reader is None else reader.width
    # Words without vectors have a table for each level instead.
    learnt = words.sizes if words.vector_width is None else ()
    self.tables = nnx.List([Embed(size, width, rngs=rngs) for size in learnt])
    self.embed = (
      None if learnt else Linear(words.vector_width, width, rngs=rngs)
    )
    self.mask = nnx.Param(jax.random.normal(rngs.params(), (width,)) * 0.02)
    self.reader = (
      None if reader is None else Reader(reader, backbone.width, rngs=rngs)
    )
    self.backbone = Backbone(backbone, key=rngs.params())
    self.heads = nnx.List(
      [Linear(backbone.width, (pool, size), rngs=rngs) for size in words.sizes]
    )
    self.bases = Linear(
      backbone.width, (pool, words.stride, NUM_BASES), rngs=rngs
    )
    self.words = words
    self.stride = words.stride
    self.pool = pool

  def encode(
    self, tokens: Tokens, is_hidden: Bool[Array, 'B T'] | None, batch: Batch
  ) -> Float[Array, 'B U D']:
    """Units in their context; of a hidden token only that it is hidden."""
    x = self._embed(tokens)
    if is_hidden is not None:
      mask = self.mask[...].astype(x.dtype)
      x = jnp.where(is_hidden[..., None], mask, x)
    if self.reader is not None:
      x = self.reader(x, batch['segment_ids'][:, :: self.stride])
    step = self.stride * self.pool
    positions = batch['positions'][:, ::step] // step
    return self.backbone(x, batch['segment_ids'][:, ::step], positions)

  def scores(
    self, encoded: Float[Array, 'B U D'], level: int
  ) -> Float[Array, 'B T Q']:
    """Of each code of a level, for every token."""
    scores = self.heads[level](encoded)
    rows, _, _, size = scores.shape
    return scores.reshape(rows, -1, size)

  def base_scores(
    self, encoded: Float[Array, 'B U D']
  ) -> Float[Array, 'B T _ 4']:
    """Of A, C, G and T, for every base of a token."""
    scores = self.bases(encoded)
    return scores.reshape(len(scores), -1, self.stride, NUM_BASES)

  def _embed(self, tokens: Tokens) -> Float[Array, 'B T D']:
    """Zero where there is no word."""
    if self.embed is not None:
      x = self.embed(tokens.vectors)
    else:
      x = sum(
        table(ids) for table, ids in zip(self.tables, tokens.ids, strict=True)
      )
    return x * tokens.is_real[..., None].astype(x.dtype)
