"""Minimizers: a sparse sample of k-mers that equal stretches have in common.

In every `window` of consecutive k-mers those with the lowest hash are chosen
(ties included, so that both strands choose alike): two texts that share a
stretch of `k + window - 1` known letters share a minimizer in it.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Int64, Shaped, UInt8, UInt64

from data_pipelines.errors import InputError
from data_pipelines.mixture import noise

# Letters at once: the arrays of eight bytes each then stay small.
_CHUNK = 1 << 20


@dataclasses.dataclass(frozen=True)
class Scheme:
  """Which k-mers are chosen, of which letters.

  Attributes:
    k: Letters in a k-mer.
    window: Consecutive k-mers of which the lowest is chosen.
    num_letters: Letters below it are known; this number is an unknown letter,
      and the next parts one sequence from another. No k-mer holds either.
    has_two_strands: Whether a k-mer and its reverse complement are one; letter
      `i` then pairs with `num_letters - 1 - i`.
  """

  k: int
  window: int
  num_letters: int
  has_two_strands: bool

  def __post_init__(self):
    fits = self.num_letters**self.k < 2**62
    if self.k < 1 or self.window < 1 or not fits:
      raise InputError(
        f'k={self.k}, window={self.window}: give two numbers of at least 1, '
        f'and a k whose {self.num_letters}**k is below 2**62'
      )

  @property
  def separator(self) -> int:
    """The letter between two sequences."""
    return self.num_letters + 1

  @property
  def min_length(self) -> int:
    """Known letters in a row that have a minimizer for certain."""
    return self.k + self.window - 1

  def find(
    self, text: UInt8[np.ndarray, 'n']
  ) -> tuple[Int64[np.ndarray, 'm'], UInt64[np.ndarray, 'm']]:
    """First letters of the minimizers, ascending, and their hashes."""
    positions, hashes = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
    for start in range(0, len(text) - self.min_length + 1, _CHUNK):
      # So many more letters that the last window of the chunk is whole.
      part = self._hashes(text[start : start + _CHUNK + self.min_length - 1])
      chosen = self._is_minimizer(part)
      positions.append(start + chosen)
      hashes.append(part[chosen])
    # A k-mer where two chunks overlap may be chosen in both.
    unique, first = np.unique(np.concatenate(positions), return_index=True)
    return unique, np.concatenate(hashes)[first]

  def _is_minimizer(
    self, hashes: UInt64[np.ndarray, 'n']
  ) -> Int64[np.ndarray, 'm']:
    # A window with an unknown letter has the lowest hash 0, and chooses none.
    lowest = slide(np.minimum, hashes, self.window)
    around = np.pad(lowest, self.window - 1)
    highest = slide(np.maximum, around, self.window)
    return np.flatnonzero((highest == hashes) & (hashes > 0))

  def _hashes(self, letters: UInt8[np.ndarray, 'n']) -> UInt64[np.ndarray, 'm']:
    """Of every k-mer; 0 where a letter is unknown."""
    wide = letters.astype(np.int64)
    words = self._words(wide)
    if self.has_two_strands:
      complement = self.num_letters - 1 - wide[::-1]
      words = np.minimum(words, self._words(complement)[::-1])
    is_known = slide(np.logical_and, letters < self.num_letters, self.k)
    hashes = noise(0, 'minimizer', words) | np.uint64(1)
    return np.where(is_known, hashes, np.uint64(0))

  def _words(self, letters: Int64[np.ndarray, 'n']) -> Int64[np.ndarray, 'm']:
    """Every k-mer as a number."""
    size = len(letters) - self.k + 1
    words = np.zeros(size, np.int64)
    for start in range(self.k):
      words *= self.num_letters
      words += letters[start : start + size]
    return words


def slide(
  combine: Callable[[np.ndarray, np.ndarray], np.ndarray],
  values: Shaped[np.ndarray, 'n'],
  width: int,
) -> Shaped[np.ndarray, 'm']:
  """`combine` (associative, idempotent) over every `width` values in a row."""
  size = 1
  while 2 * size <= width:
    values = combine(values[:-size], values[size:])
    size *= 2
  rest = width - size
  return combine(values[: len(values) - rest], values[rest:])


class Found(NamedTuple):
  """What of each sequence is in a text.

  Attributes:
    is_checked: It has a minimizer; without one nothing else is known of it.
    share: Of its distinct minimizers, how many the text has; 0 if not checked.
    is_contained: The text has the whole of it, unknown letters alike.
  """

  is_checked: Bool[np.ndarray, 's']
  share: Float[np.ndarray, 's']
  is_contained: Bool[np.ndarray, 's']


@dataclasses.dataclass(frozen=True)
class TextIndex:
  """A text, and where its minimizers are: about 4 bytes a letter (window 11).

  Attributes:
    scheme: Which minimizers.
    text: Sequences with separators between them.
    hashes: Of the minimizers, ascending.
    positions: Where in the text each is.
  """

  scheme: Scheme
  text: UInt8[np.ndarray, 'n']
  hashes: UInt64[np.ndarray, 'm']
  positions: Int64[np.ndarray, 'm']

  @classmethod
  def build(
    cls, scheme: Scheme, sequences: Iterable[UInt8[np.ndarray, '_']]
  ) -> 'TextIndex':
    """Of the sequences, in their order."""
    text = join(scheme, sequences)
    positions, hashes = scheme.find(text)
    order = np.argsort(hashes, kind='stable')
    return cls(scheme, text, hashes[order], positions[order])

  def search(self, sequences: Sequence[UInt8[np.ndarray, '_']]) -> Found:
    """Looks for every sequence; on both strands where there are two.

    A whole one is looked for where its rarest minimizer is, if all are there.
    """
    starts = np.cumsum([0, *(len(sequence) + 1 for sequence in sequences)])
    offsets, hashes = self.scheme.find(join(self.scheme, sequences))
    bounds = np.searchsorted(offsets, starts)
    low = np.searchsorted(self.hashes, hashes, side='left')
    counts = np.searchsorted(self.hashes, hashes, side='right') - low
    share = np.zeros(len(sequences))
    is_contained = np.zeros(len(sequences), np.bool_)
    is_checked = bounds[1:] > bounds[:-1]
    for i in np.flatnonzero(is_checked):
      mine = slice(bounds[i], bounds[i + 1])
      _, distinct = np.unique(hashes[mine], return_index=True)
      share[i] = (counts[mine][distinct] > 0).mean()
      if share[i] == 1:
        rarest = bounds[i] + counts[mine].argmin()
        places = self.positions[low[rarest] :][: counts[rarest]]
        offset = int(offsets[rarest] - starts[i])
        is_contained[i] = self._has(sequences[i], offset, places)
    return Found(is_checked, share, is_contained)

  def _has(
    self,
    sequence: UInt8[np.ndarray, 'n'],
    offset: int,
    places: Int[np.ndarray, 'p'],
  ) -> bool:
    """Whether the sequence is there, its k-mer at `offset` at one of `places`.

    On the other strand the k-mer is as far from the end.
    """
    if self._equals(sequence, places - offset):
      return True
    if not self.scheme.has_two_strands:
      return False
    num_letters = self.scheme.num_letters
    other = sequence[::-1]
    other = np.where(other < num_letters, num_letters - 1 - other, other)
    behind = len(sequence) - self.scheme.k - offset
    return self._equals(other, places - behind)

  def _equals(
    self, sequence: UInt8[np.ndarray, 'n'], starts: Int[np.ndarray, 'p']
  ) -> bool:
    size = len(sequence)
    fits = (starts >= 0) & (starts + size <= len(self.text))
    wanted = sequence.tobytes()
    return any(
      self.text[start : start + size].tobytes() == wanted
      for start in starts[fits]
    )


def join(
  scheme: Scheme, sequences: Iterable[UInt8[np.ndarray, '_']]
) -> UInt8[np.ndarray, 'n']:
  """The sequences, each with a separator behind it."""
  separator = np.array([scheme.separator], np.uint8)

  def parts() -> Iterator[np.ndarray]:
    for sequence in sequences:
      yield sequence
      yield separator

  return np.concatenate([np.zeros(0, np.uint8), *parts()])
