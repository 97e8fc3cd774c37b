"""Which record is read when: a shuffled, weighted mixture with random access.

A *source* is the records of one kind in one data set. The mixture is a stream
of references to records, cut into blocks of `BLOCK`: every block holds the same
number of references of each source, and each source is permuted anew for every
epoch. A block is computed from (seed, block) alone, so a run resumes anywhere.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt64

from data_pipelines import records
from data_pipelines.builders import shards
from data_pipelines.errors import InputError
from data_pipelines.features import FeatureCache, SplitFeatures

Weights = Mapping[str, float | int]

BLOCK = 4096
# The share of tokens of each kind, renormalised over the kinds present.
WEIGHTS = {'genome': 0.60, 'cds': 0.25, 'rna': 0.10, 'protein': 0.05}

FIELDS = (
  'sequence',
  'soft_mask',
  'codon_phase',
  'genetic_code',
  'codon_is_sampled',
)


@dataclasses.dataclass(frozen=True)
class Source:
  """The records of one kind in one split of one data set.

  Attributes:
    path: The data set.
    name: Its name.
    split: Which split.
    kind: Index into `records.KINDS`.
    record_ids: Where the records stand in the split.
    lengths: Their lengths in bases.
    codon_usage: Of the data set; None if no codon was ever counted.
    features: A cache that holds features of its records; None if none is used.
  """

  path: Path
  name: str
  split: str
  kind: int
  record_ids: Int[np.ndarray, 'R']
  lengths: Int[np.ndarray, 'R']
  codon_usage: np.ndarray | None = None
  features: FeatureCache | None = None

  @property
  def label(self) -> str:
    return f'{self.name}/{records.KINDS[self.kind]}'

  def open(self) -> Any:
    """The split as a random access source of the fields this kind needs."""
    extra = ('amino_acids',) if self._is_read else ()
    return shards.open_split(self.path, self.split, FIELDS + extra)

  def open_features(self) -> SplitFeatures | None:
    """Of the whole split; None where no cache is used or the kind has none."""
    if self.features is None or not self._is_read:
      return None
    return self.features.open(self.name, self.split)

  @property
  def _is_read(self) -> bool:
    return self.kind in (records.CDS, records.PROTEIN)


def find_sources(
  paths: Sequence[Path], split: str, features: FeatureCache | None = None
) -> list[Source]:
  """Every (data set, kind) with a record of at least one codon in `split`."""
  sources = []
  for path in paths:
    manifest = shards.load_manifest(path)
    if split not in manifest['splits']:
      continue
    table = read_lengths(path, manifest, split)
    for kind in range(len(records.KINDS)):
      record_ids = np.flatnonzero((table[:, 0] == kind) & (table[:, 1] >= 3))
      if record_ids.size:
        sources.append(
          Source(
            path=path,
            name=manifest['name'],
            split=split,
            kind=kind,
            record_ids=record_ids,
            lengths=table[record_ids, 1].astype(np.int64),
            codon_usage=_codon_usage(manifest),
            features=features,
          )
        )
  return sources


def read_lengths(
  path: Path, manifest: Mapping[str, Any], split: str
) -> Int[np.ndarray, 'R 2']:
  """(kind, length) of every record, checked against the manifest."""
  entry = manifest['splits'][split]
  file = shards.resolve(path) / entry['lengths_file']
  try:
    table = np.load(file)
  except (OSError, ValueError) as error:
    raise InputError(f'{file}: cannot be read; build it again') from error
  if table.shape != (entry['records'], 2):
    raise InputError(
      f'{file}: {len(table)} records, the manifest says {entry["records"]}; '
      'build the data set again'
    )
  return table


def _codon_usage(manifest: Mapping[str, Any]) -> np.ndarray | None:
  usage = manifest.get('codon_usage') or []
  values = usage.values() if isinstance(usage, Mapping) else usage
  array = np.array(list(values), np.float64)
  return array if array.size == 64 and array.sum() > 0 else None


@dataclasses.dataclass(frozen=True)
class Mixture:
  """References to records, in blocks.

  Attributes:
    sources: What is mixed.
    counts: References of each source in a block; they sum to `BLOCK`.
    seed: Of every permutation.
  """

  sources: tuple[Source, ...]
  counts: tuple[int, ...]
  seed: int

  def block(
    self, block: int
  ) -> tuple[Int[np.ndarray, 'W'], Int[np.ndarray, 'W']]:
    """Of each reference in the block: its source, and its index in there."""
    num_references = sum(self.counts)
    index = block * num_references + np.arange(num_references)
    order = np.argsort(noise(self.seed, 'order', index), kind='stable')
    source_of = np.repeat(np.arange(len(self.counts)), self.counts)[order]
    record_of = np.empty(num_references, np.int64)
    for source_id, (source, count) in enumerate(
      zip(self.sources, self.counts, strict=True)
    ):
      drawn = block * count + np.arange(count)
      record_of[source_of == source_id] = permuted(
        drawn, len(source.lengths), self.seed, f'source {source_id}'
      )
    return source_of, record_of


def make_mixture(
  sources: Sequence[Source],
  weights: Weights,
  *,
  row_length: int,
  seed: int,
  size_exponent: float | int = 1,
) -> Mixture:
  """Turns shares of tokens per kind into references per source and block.

  Within a kind, the share of a source goes with its tokens to the power of
  `size_exponent`: 1 reads all alike often, 0 as much of a small data set as of
  a large one. A source is never left out: it gets at least one reference in
  every block.
  """
  kept = [s for s in sources if weights.get(records.KINDS[s.kind], 0) > 0]
  if not kept:
    raise InputError(
      'no record to train on: the kinds present '
      f'({", ".join(s.label for s in sources)}) all have the weight 0'
    )
  tokens = np.array([np.minimum(s.lengths, row_length).sum() for s in kept])
  kinds = np.array([s.kind for s in kept])
  sizes = tokens**size_exponent
  of_kind = np.bincount(kinds, sizes, len(records.KINDS))[kinds]
  share = [weights[records.KINDS[kind]] for kind in kinds] * sizes / of_kind
  mean_length = tokens / [len(s.lengths) for s in kept]
  counts = apportion(share / mean_length, BLOCK)
  return Mixture(tuple(kept), tuple(counts.tolist()), seed)


def check_weights(weights: Weights) -> None:
  """Raises unless every weight belongs to a kind and is a share."""
  for name, weight in weights.items():
    if name not in records.KINDS or weight < 0:
      raise InputError(
        f'mixture weight {name}={weight}: give a share of at least 0 for one '
        f'of {", ".join(records.KINDS)}'
      )


def apportion(shares: np.ndarray, total: int) -> Int[np.ndarray, 'S']:
  """Whole numbers that sum to `total`, each at least 1 (largest remainder)."""
  if len(shares) > total:
    raise InputError(f'{len(shares)} sources; at most {total} can be mixed')
  exact = shares / shares.sum() * (total - len(shares))
  counts = np.floor(exact).astype(np.int64)
  left = total - len(shares) - counts.sum()
  counts[np.argsort(counts - exact, kind='stable')[:left]] += 1
  return counts + 1


def noise(
  seed: int, purpose: str, index: Int[np.ndarray, 'n']
) -> UInt64[np.ndarray, 'n']:
  """64 random bits for every index: a hash of (seed, purpose, index).

  Not `np.random`: its streams are sequential, and may change between versions.
  """
  tag = int.from_bytes(purpose.encode()[:64], 'little') % (2**61 - 1)
  state = np.full(1, seed % 2**64, np.uint64)
  state = _scramble(state) + np.uint64(tag)
  return _scramble(_scramble(state) + index.astype(np.uint64))


def _scramble(x: UInt64[np.ndarray, 'n']) -> UInt64[np.ndarray, 'n']:
  # The finaliser of SplitMix64.
  x = x + np.uint64(0x9E3779B97F4A7C15)
  x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
  x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
  return x ^ (x >> np.uint64(31))


def permuted(
  index: Int[np.ndarray, 'n'], size: int, seed: int, purpose: str
) -> Int[np.ndarray, 'n']:
  """Element `index` of an endless stream of permutations of `range(size)`.

  A Feistel network over the next power of four; what falls outside the range
  walks on until it is inside, so no permutation is ever held in memory.
  """
  half = np.uint64(max(1, (int(size - 1).bit_length() + 1) // 2))
  mask = (np.uint64(1) << half) - np.uint64(1)
  key = noise(seed, purpose, index // size)
  value = (index % size).astype(np.uint64)
  outside = np.ones(len(index), bool)
  while outside.any():
    left, right = value[outside] >> half, value[outside] & mask
    for turn in range(4):
      mixed = _scramble(
        key[outside] + (right << np.uint64(2)) + np.uint64(turn)
      )
      left, right = right, left ^ (mixed & mask)
    value[outside] = (left << half) | right
    outside = value >= np.uint64(size)
  return value.astype(np.int64)
