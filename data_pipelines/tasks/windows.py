"""Labelled windows of a chromosome, and how negatives are matched."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int, Shaped

from data_pipelines import records
from data_pipelines.organism import labels


@dataclasses.dataclass(frozen=True)
class Example:
  """A window by its first base on its own strand, and its label."""

  chromosome: labels.Chromosome
  start: int
  strand: int
  length: int
  label: int | float

  def sequence(self) -> np.ndarray:
    end = self.start + self.length
    return self.chromosome.sense(self.start, end, self.strand).copy()


def sliding(
  values: Shaped[np.ndarray, 'n'], length: int
) -> Int[np.ndarray, 'w']:
  """Sum over every window of `length`, by its first position."""
  total = np.concatenate([[0], np.cumsum(values, dtype=np.int64)])
  return total[length:] - total[:-length]


def match_gc(
  chromosome: labels.Chromosome,
  positive: Int[np.ndarray, 'p'],
  candidates: Int[np.ndarray, 'c'],
  length: int,
  rng: np.random.Generator,
) -> Int[np.ndarray, 'm']:
  """A candidate start for each positive of the same GC content, within 2 %."""
  is_gc = np.isin(chromosome.sequence, (records.C, records.G))
  gc = sliding(is_gc, length) * 50 // length
  matched = []
  for level in np.unique(gc[positive]):
    pool = candidates[gc[candidates] == level]
    wanted = int((gc[positive] == level).sum())
    matched.append(rng.permutation(pool)[:wanted])
  return np.concatenate(matched)


def examples(
  chromosome: labels.Chromosome,
  starts: Int[np.ndarray, 'e'],
  strands: Int[np.ndarray, 'e'],
  length: int,
  label: int,
) -> Iterator[Example]:
  for start, strand in zip(starts.tolist(), strands.tolist(), strict=True):
    yield Example(chromosome, start, strand, length, label)


def site_start(
  position: Int[np.ndarray, 's'], strand: Int[np.ndarray, 's'], length: int
) -> Int[np.ndarray, 's']:
  """Starts of windows with the site first in the centre unit, on its strand."""
  half = length // 2
  return np.where(strand > 0, position - half, position - half + 1)
