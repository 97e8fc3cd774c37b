"""Order-k Markov model of bases: the floor a sequence model has to beat."""

import dataclasses
from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32, UInt8

from data_pipelines import records

# Bases counted at a time, so that records need not all be in memory twice.
_BLOCK = 1 << 24


def _shift(
  sequence: UInt8[np.ndarray, '*lead n'], distance: int
) -> UInt8[np.ndarray, '*lead n']:
  """The base `distance` to the left of every base; N before the first."""
  shifted = np.full_like(sequence, records.N)
  kept = max(sequence.shape[-1] - distance, 0)
  shifted[..., distance:] = sequence[..., :kept]
  return shifted


def _extend(
  code: Int[np.ndarray, '*lead n'],
  base: UInt8[np.ndarray, '*lead n'],
  distance: int,
) -> Int[np.ndarray, '*lead n']:
  return code + (base.astype(np.int32) << (2 * distance))


def _count(sequence: UInt8[np.ndarray, 'n'], counts: list[np.ndarray]) -> None:
  """Adds what one sequence holds to the counts of every order."""
  code = sequence.astype(np.int32)
  is_known = sequence < records.N
  for distance, order_counts in enumerate(counts):
    if distance:
      base = _shift(sequence, distance)
      code = _extend(code, base, distance)
      is_known &= base < records.N
    order_counts += np.bincount(code[is_known], minlength=order_counts.size)


def _blocks(
  sequences: Iterable[UInt8[np.ndarray, '_']],
) -> Iterable[UInt8[np.ndarray, '_']]:
  """Sequences joined by an N, which no context crosses, in large blocks."""
  separator = np.array([records.N], np.uint8)
  parts, size = [], 0
  for sequence in sequences:
    parts += [sequence, separator]
    size += sequence.size
    if size >= _BLOCK:
      yield np.concatenate(parts)
      parts, size = [], 0
  if parts:
    yield np.concatenate(parts)


@dataclasses.dataclass(frozen=True)
class MarkovModel:
  """Bits of a base after each context of 0 to `order` bases.

  Attributes:
    order: Bases of the longest context.
    bits_of: For each order, bits by the code of context and base (4 ** order
      contexts, 4 bases).
  """

  order: int
  bits_of: tuple[Float32[np.ndarray, '_'], ...]

  @classmethod
  def fit(
    cls,
    sequences: Iterable[UInt8[np.ndarray, '_']],
    order: int,
    smoothing: float = 4.0,
  ) -> 'MarkovModel':
    """Counts contexts; a rare one leans on the next shorter one.

    An order's estimate is its counts plus `smoothing` pseudocounts shared out
    as the order below predicts; order 0 leans on the uniform distribution.
    """
    counts = [np.zeros(4 ** (k + 1), np.int64) for k in range(order + 1)]
    for block in _blocks(sequences):
      _count(block, counts)
    probability: Float[np.ndarray, 'context 4'] = np.full((1, 4), 0.25)
    bits_of = []
    for k, flat in enumerate(counts):
      by_context = flat.reshape(-1, 4)
      # The first base of a context is its most significant digit.
      prior = np.tile(probability, (4 if k else 1, 1))
      total = by_context.sum(-1, keepdims=True)
      probability = (by_context + smoothing * prior) / (total + smoothing)
      bits_of.append(-np.log2(probability).astype(np.float32).ravel())
    return cls(order, tuple(bits_of))

  def bits(
    self,
    sequence: UInt8[np.ndarray, '*lead n'],
    segment_ids: Int32[np.ndarray, '*lead n'],
  ) -> Float32[np.ndarray, '*lead n']:
    """Bits of each base given the true bases to its left in its segment.

    Contexts are shorter at the start of a segment and after an N. NaN where
    the base itself is N or padding.
    """
    code = sequence.astype(np.int32)
    is_known: Bool[np.ndarray, '*lead n'] = sequence < records.N
    bits = np.full(sequence.shape, np.nan, np.float32)
    for distance, order_bits in enumerate(self.bits_of):
      if distance:
        base = _shift(sequence, distance)
        code = _extend(code, base, distance)
        same = np.zeros(sequence.shape, bool)
        same[..., distance:] = (
          segment_ids[..., distance:] == segment_ids[..., :-distance]
        )
        is_known = is_known & same & (base < records.N)
      bits[is_known] = order_bits[code[is_known]]
    return bits
