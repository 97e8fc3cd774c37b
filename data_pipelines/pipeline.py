"""From shards to batches: shuffled, mixed, packed, resumable (grain).

Every row is a pure function of (configuration, row number): a stream of batches
has the same order whatever the number of threads, workers or processes, and its
whole state is the number of the next batch.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import grain
from absl import flags

from data_pipelines.batches import EvaluationBatches, TrainingBatches
from data_pipelines.builders import shards
from data_pipelines.central_dogma import CodonPolicy
from data_pipelines.endless import local_rows
from data_pipelines.errors import InputError
from data_pipelines.features import FeatureCache
from data_pipelines.mixture import (
  WEIGHTS,
  Source,
  Weights,
  check_weights,
  find_sources,
  make_mixture,
)
from data_pipelines.rows import PackedBatch

# Below this size the checksum of every shard is compared by default.
_VERIFY_BELOW_BYTES = 1_000_000_000
# Parts of the manifest that say what is in the shards; the rest is its history.
_CONTENT = ('name', 'format_version', 'splits', 'codon_usage', 'genetic_codes')


@dataclasses.dataclass(frozen=True)
class Shards:
  """Data sets, and how they become batches.

  Attributes:
    path: A folder with one or several data sets below it, or several of them.
    row_length: Bases in a row, a multiple of three.
    batch_size: Rows in a batch, over all processes.
    seed: Of order, crops, strands and sampled codons.
    weights: Share of the tokens per kind, renormalised over the kinds present.
    size_exponent: Within a kind, the share of a data set goes with its tokens
      to this power: 1 reads every record alike often, 0 every data set alike
      much, so that a small one is seen in many epochs.
    reverse_complement: Probability that a genome record is read backwards.
    codon_policy: How codons of proteins are drawn, anew in every epoch: from
      the usage of their data set (alike where it has no CDS), or all alike.
    num_workers: Processes that make batches; 0 makes them in this one.
    num_threads: Threads that make batches in each of those processes.
    prefetch: Batches made ahead per process.
    cache_bases: Records of so many bases are kept in memory by each process,
      decoded (about 3 bytes a base); small data sets are then read only once.
    verify: Whether to compare checksums at the start; None: if it is quick.
    features: A folder with features of the records' codons, made by
      lifecode.teacher.cache: every batch then has them as `teacher`.
  """

  path: str | Path | tuple[str | Path, ...]
  row_length: int = 6144
  batch_size: int = 8
  seed: int = 0
  weights: Weights = dataclasses.field(default_factory=lambda: dict(WEIGHTS))
  size_exponent: float | int = 1
  reverse_complement: float | int = 0.5
  codon_policy: CodonPolicy = 'usage'
  num_workers: int = 0
  num_threads: int = 1
  prefetch: int = 2
  cache_bases: int = 100_000_000
  verify: bool | None = None
  features: str | Path | None = None

  def __post_init__(self):
    if self.row_length < 3 or self.row_length % 3:
      raise InputError(
        f'row_length={self.row_length}: give a multiple of 3, such as '
        f'{max(self.row_length // 3, 1) * 3}'
      )
    if self.batch_size < 1:
      raise InputError(f'batch_size={self.batch_size}: give 1 or more')
    if not 0 <= self.reverse_complement <= 1:
      raise InputError(
        f'reverse_complement={self.reverse_complement}: give a probability'
      )
    if not 0 <= self.size_exponent <= 1:
      raise InputError(
        f'size_exponent={self.size_exponent}: give a number from 0 to 1'
      )
    if self.codon_policy not in get_args(CodonPolicy):
      raise InputError(
        f'codon_policy={self.codon_policy}: give one of '
        f'{", ".join(get_args(CodonPolicy))}'
      )
    check_weights(self.weights)
    _check_files(self.datasets, self.verify)
    if self._feature_cache:
      size = self._feature_cache.num_bytes()
      self._feature_cache.check(
        self.datasets, verify=_is_verified(self.verify, size)
      )

  @functools.cached_property
  def datasets(self) -> tuple[Path, ...]:
    """The folder of every data set."""
    is_one = isinstance(self.path, str | Path)
    paths = (self.path,) if is_one else self.path
    found = []
    for path in paths:
      if not str(path):
        raise InputError('the path of the shards is empty; name their folder')
      below = shards.find_datasets(Path(path))
      if not below:
        raise InputError(
          f'{path}: no data set here or below; make one with python -m '
          f'data_pipelines.build omics --out={path} --fasta=FILE'
        )
      found += below
    return tuple(dict.fromkeys(found))

  @functools.cached_property
  def _feature_cache(self) -> FeatureCache | None:
    return FeatureCache(Path(self.features)) if self.features else None

  def manifest_hash(self) -> str:
    """One hash for the content of all data sets, and features if used."""
    manifests = [shards.load_manifest(path) for path in self.datasets]
    content = [{key: m.get(key) for key in _CONTENT} for m in manifests]
    text = json.dumps(sorted(content, key=lambda c: c['name']), sort_keys=True)
    if self._feature_cache:
      text += self._feature_cache.manifest_hash()
    return hashlib.sha256(text.encode()).hexdigest()

  def train(
    self, *, process_id: int = 0, num_processes: int = 1
  ) -> 'BatchIterator':
    """Endless batches of the `train` split: this process's rows of each."""
    rows = local_rows(self.batch_size, process_id, num_processes)
    mixture = make_mixture(
      self._sources('train'),
      self.weights,
      row_length=self.row_length,
      seed=self.seed,
      size_exponent=self.size_exponent,
    )
    batches = TrainingBatches(
      mixture,
      row_length=self.row_length,
      reverse_complement=self.reverse_complement,
      batch_size=self.batch_size,
      rows=rows,
      codon_policy=self.codon_policy,
      cache_bases=self.cache_bases,
    )
    return BatchIterator(
      batches,
      num_workers=self.num_workers,
      num_threads=self.num_threads,
      prefetch=self.prefetch,
    )

  def evaluation(
    self,
    split: str = 'validation',
    *,
    max_rows: int | None = None,
    process_id: int = 0,
    num_processes: int = 1,
  ) -> list[tuple[str, EvaluationBatches]]:
    """Of each (data set, kind): its label, and its batches in a fixed order.

    Every record once, from its first base, on its own strand; `max_rows` takes
    that many rows of each, spread evenly. The last batch is filled up with
    empty rows, so that every batch has the same shape.
    """
    rows = local_rows(self.batch_size, process_id, num_processes)
    return [
      (
        source.label,
        EvaluationBatches(
          source,
          row_length=self.row_length,
          batch_size=self.batch_size,
          rows=rows,
          max_rows=max_rows,
        ),
      )
      for source in self._sources(split)
    ]

  def _sources(self, split: str) -> list[Source]:
    sources = find_sources(self.datasets, split, self._feature_cache)
    if not sources:
      raise InputError(
        f'{", ".join(map(str, self.datasets))}: no record in the split '
        f'{split!r}; build the data set with another way to split'
      )
    return sources


class BatchIterator:
  """Endless batches; its state is the number of the next one."""

  def __init__(
    self,
    batches: TrainingBatches,
    *,
    num_workers: int,
    num_threads: int,
    prefetch: int,
  ):
    self._batches = batches
    self._num_workers = num_workers
    self._read_options = grain.ReadOptions(
      num_threads=num_threads, prefetch_buffer_size=prefetch
    )
    self._next_batch = 0
    self._iterator: Any = None

  def __iter__(self) -> 'BatchIterator':
    return self

  def __next__(self) -> PackedBatch:
    if self._iterator is None:
      self._iterator = self._start()
    batch = next(self._iterator)
    self._next_batch += 1
    return batch

  def get_state(self) -> dict[str, int]:
    """What `set_state` of any iterator over the same data needs."""
    return {'next_batch': self._next_batch}

  def set_state(self, state: Mapping[str, Any]) -> None:
    """Goes on at the batch that the state names."""
    self.close()
    self._next_batch = int(state['next_batch'])

  def close(self) -> None:
    """Ends the workers."""
    if self._iterator is not None:
      self._iterator.close()
    self._iterator = None

  def _start(self) -> Any:
    batches = grain.MapDataset.source(self._batches)[self._next_batch :]
    stream = batches.to_iter_dataset(self._read_options)
    if self._num_workers:
      if not flags.FLAGS.is_parsed():
        # Grain's workers read its absl flags, also in a program without any.
        flags.FLAGS.mark_as_parsed()
      stream = stream.mp_prefetch(
        grain.MultiprocessingOptions(
          num_workers=self._num_workers,
          per_worker_buffer_size=max(
            self._read_options.prefetch_buffer_size, 1
          ),
        )
      )
    return iter(stream)


def _check_files(datasets: tuple[Path, ...], verify: bool | None) -> None:
  """Sizes always; checksums if asked to, or if there is little to read."""
  total = 0
  for path in datasets:
    for split in shards.load_manifest(path)['splits'].values():
      for shard in split['shards']:
        file = path / shard['file']
        size = file.stat().st_size if file.exists() else None
        if size != shard['bytes']:
          raise InputError(
            f'{file}: shard is missing or corrupted ({size} bytes, the '
            f'manifest says {shard["bytes"]}); build the data set again'
          )
        total += size
  if _is_verified(verify, total):
    for path in datasets:
      shards.verify(path)


def _is_verified(verify: bool | None, num_bytes: int) -> bool:
  return num_bytes < _VERIFY_BELOW_BYTES if verify is None else verify
