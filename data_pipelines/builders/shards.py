"""Reads record shards: random access, manifests, checksums."""

import functools
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python import array_record_data_source
from tensorflow_datasets.proto import tf_example_pb2

from data_pipelines.errors import InputError
from data_pipelines.records import PHASE_NONE

FORMAT_VERSION = 1
MANIFEST = 'manifest.json'

ARRAYS = {
  'sequence': np.uint8,
  'soft_mask': np.bool_,
  'codon_phase': np.uint8,
  'amino_acids': np.uint8,
}
TEXTS = ('name', 'source', 'contig')
SCALARS = {
  'kind': np.uint8,
  'genetic_code': np.uint8,
  'codon_is_sampled': np.bool_,
  'start': np.int64,
  'end': np.int64,
  'strand': np.int64,
}
FIELDS = (*ARRAYS, *TEXTS, *SCALARS)
# What an array stored empty stands for, at every base.
_ABSENT = {'soft_mask': False, 'codon_phase': PHASE_NONE}


class OmicsSource(Sequence):
  """Records of one split as dicts of numpy, by index; arrays are read-only.

  Decodes the stored `tf.train.Example` itself: TFDS's numpy decoder takes five
  times as long as reading the bytes, and `PartialDecoding` needs TensorFlow.
  Pickles to its paths, so that a spawned worker opens the files itself.
  """

  def __init__(
    self, paths: Sequence[str], num_records: int, fields: Sequence[str]
  ):
    if unknown := set(fields) - set(FIELDS):
      raise InputError(
        f'no field {", ".join(sorted(unknown))} in a record: choose from '
        f'{", ".join(FIELDS)}'
      )
    self._paths = tuple(paths)
    self._num_records = num_records
    self._fields = tuple(fields)
    self._reader = None
    self._process_id = 0

  def __len__(self) -> int:
    return self._num_records

  def __getitem__(self, index: int) -> dict[str, Any]:
    index = index.__index__()
    if not -self._num_records <= index < self._num_records:
      raise IndexError(f'record {index} of {self._num_records}')
    return self._decode(self._open()[index % self._num_records])

  def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
    return [self._decode(data) for data in self._open().__getitems__(indices)]

  def __getstate__(self) -> dict[str, Any]:
    return {**self.__dict__, '_reader': None}

  def __repr__(self) -> str:
    # Grain compares data sources by their text when it restores an iterator.
    files = ','.join(Path(path).name for path in self._paths)
    return f'OmicsSource({files}, fields={self._fields})'

  def _open(self):
    if self._reader is None:
      self._reader = array_record_data_source.ArrayRecordDataSource(self._paths)
      self._process_id = os.getpid()
    if self._process_id != os.getpid():
      raise RuntimeError(
        'ArrayRecord cannot be read in a process forked from one that has read '
        'it; start workers by spawn, as grain does'
      )
    return self._reader

  def _decode(self, serialized: bytes) -> dict[str, Any]:
    return decode(serialized, self._fields)


def decode(serialized: bytes, fields: Sequence[str]) -> dict[str, Any]:
  """Fields of a stored record; arrays are read-only."""
  features = tf_example_pb2.Example.FromString(serialized).features.feature
  record = {}
  for field in fields:
    feature = features[field]
    if field in SCALARS:
      record[field] = SCALARS[field](feature.int64_list.value[0])
      continue
    data = feature.bytes_list.value[0]
    if field in TEXTS:
      record[field] = data.decode()
    elif data or field not in _ABSENT:
      record[field] = np.frombuffer(data, ARRAYS[field])
    else:
      num_bases = len(features['sequence'].bytes_list.value[0])
      record[field] = _absent(field, num_bases)
  return record


@functools.lru_cache(maxsize=64)
def _absent(field: str, num_bases: int) -> np.ndarray:
  track = np.full(num_bases, _ABSENT[field], ARRAYS[field])
  track.flags.writeable = False
  return track


def open_split(
  path: Path, split: str, fields: tuple[str, ...] | None = None
) -> OmicsSource:
  """Random access to a split of the data set at `path`; `fields` or all."""
  directory = resolve(path)
  splits = load_manifest(directory)['splits']
  if split not in splits:
    raise InputError(
      f'{directory}: no split {split!r}; it has {", ".join(sorted(splits))}'
    )
  paths = [str(directory / shard['file']) for shard in splits[split]['shards']]
  if missing := [p for p in paths if not os.path.exists(p)]:
    raise InputError(
      f'{missing[0]}: shard is missing; build the data set again'
    )
  return OmicsSource(paths, splits[split]['records'], fields or FIELDS)


def load_lengths(path: Path, split: str) -> np.ndarray:
  """`[num_records, 2]` of (kind, length in bases), in reading order."""
  directory = resolve(path)
  file = load_manifest(directory)['splits'][split]['lengths_file']
  return np.load(directory / file)


def load_manifest(path: Path) -> dict[str, Any]:
  """The manifest of the data set at `path`."""
  file = resolve(path) / MANIFEST
  try:
    manifest = json.loads(file.read_text())
  except ValueError as error:
    raise InputError(f'{file}: not JSON ({error}); build it again') from error
  if manifest.get('format_version') != FORMAT_VERSION:
    raise InputError(
      f'{file}: format {manifest.get("format_version")}, this code reads '
      f'{FORMAT_VERSION}; build the data set again'
    )
  return manifest


def resolve(path: Path) -> Path:
  """The folder with the manifest: `path`, or its one version."""
  path = Path(path)
  if (path / MANIFEST).exists():
    return path
  found = sorted(p.parent for p in path.glob(f'[!.]*/{MANIFEST}'))
  if not found:
    raise InputError(
      f'{path}: no {MANIFEST} here; give the folder of one data set, made by '
      'python -m data_pipelines.build omics'
    )
  if len({p.name for p in found}) != 1 or len(found) != 1:
    names = ', '.join(p.name for p in found)
    raise InputError(f'{path}: several data sets ({names}); name one')
  return found[0]


def find_datasets(path: Path) -> list[Path]:
  """Every data set at or below `path`, sorted; unfinished ones are hidden."""
  path = Path(path)
  return sorted(
    file.parent
    for file in path.rglob(MANIFEST)
    if not any(p.startswith('.') for p in file.relative_to(path).parts)
  )


def verify(path: Path) -> None:
  """Compares every shard with its checksum in the manifest."""
  directory = resolve(path)
  for split in load_manifest(directory)['splits'].values():
    for shard in split['shards']:
      file = directory / shard['file']
      if not file.exists() or sha256(file) != shard['sha256']:
        raise InputError(
          f'{file}: shard is missing or corrupted (its checksum differs from '
          f'{MANIFEST}); build the data set again'
        )


def sha256(path: Path) -> str:
  """Hexadecimal digest of a file."""
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()
