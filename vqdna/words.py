"""Sequences in the words of a vocabulary that is not learnt here."""

import dataclasses
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from backbone.array_types import Array, Batch, Bool, Float, Int, PyTree
from vqdna.network import NUM_BASES
from vqdna.objective import bases


class Tokens(NamedTuple):
  """A packed batch in the words of a vocabulary.

  Attributes:
    ids: Code of each level.
    vectors: Of the tokens; None of words whose vectors a model has to learn.
    is_real: Which are made of bases alone, none N, none hidden and none
      padding.
  """

  ids: tuple[Int[Array, 'B T'], ...]
  vectors: Float[Array, 'B T D'] | None
  is_real: Bool[Array, 'B T']


@runtime_checkable
class Words(Protocol):
  """Cuts sequences into tokens. Implementations are frozen dataclasses."""

  @property
  def stride(self) -> int:
    """Bases from one token to the next."""

  @property
  def sizes(self) -> tuple[int, ...]:
    """Number of codes of each level."""

  @property
  def vector_width(self) -> int | None:
    """Of a token's vector; None where a model learns one for each code."""

  @property
  def has_met_masks(self) -> bool:
    """Whether tokens of partly hidden bases mean something."""

  @property
  def hash(self) -> str:
    """Of all that decides the codes."""

  def init(self) -> PyTree:
    """What calls read, to be kept in `aux`."""

  def __call__(
    self,
    state: PyTree,
    batch: Batch,
    is_hidden: Bool[Array, 'B N'] | None = None,
  ) -> Tokens:
    """The tokens of a packed batch, without gradient.

    Args:
      state: What `init` gave.
      batch: Its segments start at multiples of three.
      is_hidden: Bases that no token may tell of.
    """

  def vectors(
    self, state: PyTree, ids: tuple[Int[Array, 'B T'], ...]
  ) -> Float[Array, 'B T D'] | None:
    """Of tokens whose codes are known already."""


@dataclasses.dataclass(frozen=True)
class KMers:
  """Overlapping words of so many bases, one at every base; 1 is characters.

  What DNABERT reads (Ji et al., doi:10.1093/bioinformatics/btab083), of six.
  The word of a base begins (size - 1) // 2 before it; where it crosses the
  border of a segment or has an unknown base, it is no word.

  Attributes:
    size: Bases of a word.
  """

  size: int = 1

  stride = 1
  vector_width = None
  has_met_masks = True

  def __post_init__(self):
    if not 1 <= self.size <= 8:
      raise ValueError(f'size={self.size}; words have 1 to 8 bases')

  @property
  def sizes(self) -> tuple[int, ...]:
    return (NUM_BASES**self.size,)

  @property
  def hash(self) -> str:
    return f'{self.size}-mers'

  def init(self) -> PyTree:
    """Nothing."""
    return ()

  def __call__(
    self,
    state: PyTree,
    batch: Batch,
    is_hidden: Bool[Array, 'B N'] | None = None,
  ) -> Tokens:
    sequence, is_base = bases(batch)
    if is_hidden is not None:
      is_base &= ~is_hidden
    segment_ids = batch['segment_ids']
    before = (self.size - 1) // 2
    ids = jnp.zeros_like(sequence)
    is_real = jnp.ones_like(is_base)
    for offset in range(-before, self.size - before):
      ids = NUM_BASES * ids + _neighbour(sequence % NUM_BASES, offset)
      is_same = _neighbour(segment_ids, offset) == segment_ids
      is_real &= _neighbour(is_base, offset) & is_same
    return Tokens((ids,), None, is_real)

  def vectors(
    self, state: PyTree, ids: tuple[Int[Array, 'B T'], ...]
  ) -> Float[Array, 'B T D'] | None:
    """None: a model learns them."""


def _neighbour(x: Array, offset: int) -> Array:
  """x[t + offset], zero outside."""
  moved = jnp.roll(x, -offset, axis=1)
  at = jnp.arange(x.shape[1]) + offset
  return jnp.where((at >= 0) & (at < x.shape[1]), moved, jnp.zeros_like(x))


def standardised(
  vectors: Float[Array, '*s D'], books: tuple[Float[Array, '_ D'], ...]
) -> Float[Array, '*s D']:
  """Vectors around the mean of all codes, of the codes' deviation.

  Learnt codes lie far from the origin, so that what tells tokens apart would
  be small beside what they share.
  """
  codes = jnp.concatenate(books)
  mean = codes.mean(0)
  deviation = jnp.sqrt(jnp.square(codes - mean).mean())
  return (vectors - mean) / jnp.maximum(deviation, 1e-6)


def select(condition: Bool[Array, 'B T'], one: Tokens, other: Tokens) -> Tokens:
  """The tokens of `one` where the condition holds, else of `other`."""

  def choose(a: Array, b: Array) -> Array:
    shape = condition.shape + (1,) * (a.ndim - 2)
    return jnp.where(condition.reshape(shape), a, b)

  return jax.tree.map(choose, one, other)
