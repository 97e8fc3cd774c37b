"""From vectors of an encoder to tokens of a vocabulary, and back to vectors."""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple, Protocol, get_args, runtime_checkable

import jax
import jax.numpy as jnp

from backbone.array_types import (
  Array,
  Bool,
  Float,
  Int,
  Mean,
  PRNGKey,
  PyTree,
  Scalar,
)
from vqdna import codebook as codebooks
from vqdna import gradients
from vqdna.codebook import Codebook, CodebookConfig
from vqdna.gradients import Estimator


class Vocabulary(NamedTuple):
  """State without gradient.

  Attributes:
    levels: The codebooks, coarse to fine.
    step: Batches that have been learnt from.
  """

  levels: tuple[Codebook, ...]
  step: Int[Array, '']


class Quantised(NamedTuple):
  """Tokens of a batch.

  Attributes:
    vectors: Of the tokens: the mean of their codes, with a gradient.
    ids: Code of each level.
    commitment: Mean squared distance of vectors to their codes, summed over
      the levels; its gradient draws the vectors.
    vocabulary: The next state; the same in evaluation.
    metrics: Health of each level.
  """

  vectors: Float[Array, 'B T D']
  ids: tuple[Int[Array, 'B T'], ...]
  commitment: Scalar
  vocabulary: PyTree
  metrics: dict[str, Mean]


@runtime_checkable
class Quantiser(Protocol):
  """Between encoder and decoder. Implementations are frozen dataclasses."""

  @property
  def sizes(self) -> tuple[int, ...]:
    """Number of codes of each level, coarse to fine."""

  def init(self, width: int, key: PRNGKey) -> PyTree:
    """State without gradient; `width` is that of the vectors."""

  def __call__(
    self,
    taps: tuple[Float[Array, 'B T D'], ...],
    vocabulary: PyTree,
    is_real: Bool[Array, 'B T'],
    key: PRNGKey,
    *,
    train: bool,
  ) -> Quantised:
    """Quantises the outputs of the encoder, one for each level."""

  def codes(self, vocabulary: PyTree, level: int) -> Float[Array, 'Q D']:
    """The vectors of all codes of a level."""


@dataclasses.dataclass(frozen=True)
class HierarchicalResidual:
  """VQDNA's quantiser (arXiv:2405.10812, eqs. 5 and 6, as others cite them).

  H_1 = Z_1 and H_2 = 2 Z_2 - e_1, where Z are the outputs of two blocks of the
  encoder and e_n the code nearest to H_n; a token is the mean of its codes. The
  factor 2 makes that mean Z_2 where the fine codes fit. This holds for two
  levels only, so that there are no more; one level is the plain VQ-VAE.

  Attributes:
    levels: Codebooks, coarse to fine; 1,024 and 2,048 codes are our reading of
      contradicting sources.
    estimator: What passes as the gradient of the replacement.
    stops_coarse_gradient: Whether e_1 is a constant in H_2. If it is not, with
      the straight-through gradient, what Z_1 adds to the token by e_1 it takes
      away by e_2, and the decoder teaches the coarse level nothing.
    revive_from: First batch after which dead codes come back.
    revive_until: First batch after which they do not, so that codes settle
      before they are frozen; None is never.
  """

  levels: tuple[CodebookConfig, ...] = (
    CodebookConfig(size=1_024),
    CodebookConfig(size=2_048),
  )
  estimator: Estimator = 'straight_through'
  stops_coarse_gradient: bool = True
  revive_from: int = 0
  revive_until: int | None = None

  def __post_init__(self):
    if len(self.levels) not in (1, 2):
      raise ValueError(
        f'{len(self.levels)} levels: the residual rule holds for one or two'
      )
    if self.estimator not in get_args(Estimator):
      raise ValueError(
        f'estimator {self.estimator!r} is none of {get_args(Estimator)}'
      )

  @property
  def sizes(self) -> tuple[int, ...]:
    """Number of codes of each level, coarse to fine."""
    return tuple(level.size for level in self.levels)

  def init(self, width: int, key: PRNGKey) -> Vocabulary:
    """Random codes, until the first batch."""
    keys = jax.random.split(key, len(self.levels))
    return Vocabulary(
      tuple(
        codebooks.initial(level, width, level_key)
        for level, level_key in zip(self.levels, keys, strict=True)
      ),
      jnp.zeros((), jnp.int32),
    )

  def __call__(
    self,
    taps: tuple[Float[Array, 'B T D'], ...],
    vocabulary: Vocabulary,
    is_real: Bool[Array, 'B T'],
    key: PRNGKey,
    *,
    train: bool,
  ) -> Quantised:
    """Quantises.

    Args:
      taps: Outputs Z of the encoder's blocks, one for each level.
      vocabulary: The state.
      is_real: False at padding, which no code follows and nothing counts.
      key: Of the first codes and of those that come back.
      train: Whether the codes follow.
    """
    codes_of, ids_of, next_levels = [], [], []
    commitment, metrics = jnp.zeros(()), {}
    for number, (config, tap, book) in enumerate(
      zip(self.levels, taps, vocabulary.levels, strict=True)
    ):
      vectors = tap.astype(jnp.float32)
      if number:
        is_fixed = self.stops_coarse_gradient
        vectors = 2 * vectors - (codes if is_fixed else codes_of[-1])
      fixed = jax.lax.stop_gradient(vectors)
      level_key = jax.random.fold_in(key, number)
      if train:
        is_first = vocabulary.step == 0
        start = functools.partial(codebooks.start, config)
        book = _where(is_first, start, book, fixed, is_real, level_key)
      ids = codebooks.nearest(book.codes, fixed)
      codes = book.codes[ids]
      estimate = getattr(gradients, self.estimator)
      codes_of.append(estimate(vectors, codes))
      ids_of.append(ids)
      distance = mean_square(vectors - codes, is_real)
      commitment += distance
      metrics |= {
        f'level{number + 1}/{name}': value
        for name, value in level_health(
          config.size, ids, distance, fixed, is_real
        ).items()
      }
      if train:
        book = self._learn(
          config, book, fixed, ids, is_real, level_key, vocabulary.step
        )
      next_levels.append(book)
    return Quantised(
      sum(codes_of) / len(codes_of),
      tuple(ids_of),
      commitment,
      Vocabulary(tuple(next_levels), vocabulary.step + int(train)),
      metrics,
    )

  def codes(self, vocabulary: Vocabulary, level: int) -> Float[Array, 'Q D']:
    """The vectors of all codes of a level."""
    return vocabulary.levels[level].codes

  def _learn(
    self,
    config: CodebookConfig,
    book: Codebook,
    vectors: Float[Array, 'B T D'],
    ids: Int[Array, 'B T'],
    is_real: Bool[Array, 'B T'],
    key: PRNGKey,
    step: Int[Array, ''],
  ) -> Codebook:
    book = codebooks.follow(config, book, vectors, ids, is_real)
    if not config.revive_share:
      return book
    is_time = step >= self.revive_from
    if self.revive_until is not None:
      is_time &= step < self.revive_until
    revive = functools.partial(codebooks.revive, config)
    revive_key = jax.random.fold_in(key, 1)
    return _where(is_time, revive, book, vectors, is_real, revive_key)


def _where(
  condition: Bool[Array, ''],
  change: Callable[..., Codebook],
  book: Codebook,
  *arguments: Array,
) -> Codebook:
  """The changed codebook or the same, at the cost of what is chosen."""
  return jax.lax.cond(
    condition, change, lambda book, *_: book, book, *arguments
  )


def mean_square(
  vectors: Float[Array, 'B T D'], is_real: Bool[Array, 'B T']
) -> Scalar:
  """Per element, over what is real."""
  total = (jnp.square(vectors).mean(-1) * is_real).sum()
  return total / jnp.maximum(is_real.sum(), 1)


def level_health(
  size: int,
  ids: Int[Array, 'B T'],
  distance: Scalar,
  vectors: Float[Array, 'B T D'],
  is_real: Bool[Array, 'B T'],
) -> dict[str, Mean]:
  """Of one level, in this batch.

  `perplexity` is the number of equally frequent codes of the same entropy,
  `usage` the share of codes that occur, `error` the squared distance to the
  codes beside the squared length.
  """
  counts = (jax.nn.one_hot(ids, size) * is_real[..., None]).sum((0, 1))
  share = counts / jnp.maximum(counts.sum(), 1)
  entropy = -jnp.sum(share * jnp.log(jnp.where(share > 0, share, 1.0)))
  one = jnp.ones(())
  length = jnp.maximum(mean_square(vectors, is_real), 1e-12)
  return {
    'perplexity': Mean(jnp.exp(entropy), one),
    'usage': Mean((counts > 0).mean(), one),
    'error': Mean(jax.lax.stop_gradient(distance) / length, one),
  }
