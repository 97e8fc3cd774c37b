"""Sections of a sequence as tokens of a language model.

GTA (arXiv:2410.01858) aligns features of the genetic sequence with
natural-language tokens; its abstract does not say how. This is the mechanism of
Time-LLM (arXiv:2310.01728), which it is closest to: attention from sections to
prototypes of the language model's words.
"""

import dataclasses
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from flax import nnx

from backbone.array_types import Array, Float, PRNGKey
from backbone.nn.linear import Linear
from backbone.nn.norm import LayerNorm

Prototypes = Literal['mapped', 'learned', 'random']
Aligner = Literal['attention', 'linear']


@dataclasses.dataclass(frozen=True)
class AlignmentConfig:
  """Settings; none is published.

  Attributes:
    feature_width: C, of a section.
    width: Of sections before they are aligned.
    num_prototypes: P; Time-LLM has 1,000.
    prototypes: Mixtures of all words, as Time-LLM has them ('mapped'), vectors
      that start as words ('learned'), or fixed noise of their size ('random', a
      control).
    num_heads: H, of the attention.
    key_width: K, of a head.
    aligner: 'linear' says sections in no words, which is the custom elsewhere:
      a control.
    distance_unit: Bases from the start of transcription that count as near.
  """

  feature_width: int
  width: int = 128
  num_prototypes: int = 1_000
  prototypes: Prototypes = 'learned'
  num_heads: int = 8
  key_width: int = 64
  aligner: Aligner = 'attention'
  distance_unit: float | int = 1_000.0

  def __post_init__(self):
    if self.prototypes not in get_args(Prototypes):
      raise ValueError(
        f'prototypes {self.prototypes!r} is none of {get_args(Prototypes)}'
      )
    if self.aligner not in get_args(Aligner):
      raise ValueError(
        f'aligner {self.aligner!r} is none of {get_args(Aligner)}'
      )
    if min(self.num_prototypes, self.num_heads, self.key_width) < 1:
      raise ValueError('num_prototypes, num_heads and key_width: at least 1')


class Aligned(NamedTuple):
  """Sections among words.

  Attributes:
    tokens: Vectors of the language model's width.
    weights: Of each prototype, for each section; None of a linear aligner.
  """

  tokens: Float[Array, 'B S D']
  weights: Float[Array, 'B H S P'] | None


class Alignment(nnx.Module):
  """From sections to vectors that stand among those of words."""

  def __init__(
    self,
    config: AlignmentConfig,
    words: Float[Array, 'V D'],
    *,
    key: PRNGKey,
  ):
    """Draws the weights.

    Args:
      config: Settings.
      words: Input embeddings of the language model; only their size and, for
        learned prototypes, some of them are taken.
      key: Of all that is drawn.
    """
    rngs, width = nnx.Rngs(key), config.width
    is_attention = config.aligner == 'attention'
    number = config.num_prototypes if is_attention else 0
    keys = config.num_heads, config.key_width
    self.norm = LayerNorm(config.feature_width)
    self.enter = Linear(config.feature_width, width, rngs=rngs)
    # How far a section is, and on which side.
    self.place = Linear(2, width, rngs=rngs)
    inputs = keys if is_attention else width
    self.output = Linear(inputs, words.shape[1], rngs=rngs)
    self.query = Linear(width, keys, rngs=rngs) if number else None
    self.key = Linear(words.shape[1], keys, rngs=rngs) if number else None
    self.value = Linear(words.shape[1], keys, rngs=rngs) if number else None
    self.prototypes = self._start(config, number, words, rngs)
    self.gain = nnx.Param(_size(words))
    self.config = config

  @staticmethod
  def _start(config, number, words, rngs):
    """Parameters of the prototypes, if they have any."""
    if not number or config.prototypes == 'random':
      return None
    if config.prototypes == 'mapped':
      shape = len(words), number
      mixture = jax.random.normal(rngs.params(), shape) * len(words) ** -0.5
      return nnx.Param(mixture)
    chosen = jax.random.choice(
      rngs.params(), len(words), (number,), replace=number > len(words)
    )
    return nnx.Param(words[chosen].astype(jnp.float32))

  def __call__(
    self,
    sections: Float[Array, 'B S C'],
    distance: Float[Array, 'B S'],
    words: Float[Array, 'V D'],
  ) -> Aligned:
    """Says sections in the words of a language model.

    Args:
      sections: Features.
      distance: Of their middle from the start of transcription, in bases,
        below zero upstream.
      words: Input embeddings of the language model.
    """
    far = jnp.log1p(jnp.abs(distance) / self.config.distance_unit)
    place = jnp.stack([far, far * jnp.sign(distance)], axis=-1)
    x = self.enter(self.norm(sections)) + self.place(place.astype(jnp.float32))
    x, weights = jax.nn.gelu(x), None
    if self.query is not None:
      prototypes = self._prototypes(words)
      query, key = self.query(x), self.key(prototypes)
      scores = jnp.einsum('bshk,phk->bhsp', query, key)
      weights = jax.nn.softmax(scores * self.config.key_width**-0.5)
      x = jnp.einsum('bhsp,phk->bshk', weights, self.value(prototypes))
    tokens = self.output(x)
    # Of the size of words, from which a product may start far away.
    mean = jnp.square(tokens).mean(-1, keepdims=True)
    tokens = self.gain[...] * tokens * jax.lax.rsqrt(mean + 1e-12)
    return Aligned(tokens, weights)

  def _prototypes(self, words: Float[Array, 'V D']) -> Float[Array, 'P D']:
    words = words.astype(jnp.float32)
    if self.config.prototypes == 'mapped':
      return self.prototypes[...].T @ words
    if self.config.prototypes == 'learned':
      return self.prototypes[...]
    shape = self.config.num_prototypes, words.shape[1]
    return _size(words) * jax.random.normal(jax.random.key(0), shape)


def _size(words: Float[Array, 'V D']) -> Float[Array, '']:
  """Mean over the words of the root of their mean square."""
  square = jnp.square(words.astype(jnp.float32)).mean(-1)
  return jnp.sqrt(square).mean()
