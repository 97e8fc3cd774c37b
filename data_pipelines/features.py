"""Features of records from a cache on disk: a float16 row for every codon.

A cache is a folder with `features.json`, and for every split of every data set
an index and shards: `.npy` files [rows, W], all but the last of one size, read
through memory maps. Record r owns the rows index[r] to index[r + 1]: one for
each of its codons, or none if it has no features.
"""

import dataclasses
import functools
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float16

from data_pipelines.builders import shards
from data_pipelines.errors import InputError

# Of a batch: [B, N / 3, W], zeros where there are none.
KEY = 'teacher'
# Not that of a data set: a cache may lie in the folder of its data sets.
MANIFEST = 'features.json'
FORMAT_VERSION = 1

_SHARD_BYTES = 256_000_000
_MEND = 'make the cache again: python -m lifecode.teacher.cache'


@dataclasses.dataclass(frozen=True)
class FeatureCache:
  """A finished cache.

  Attributes:
    path: Its folder.
  """

  path: Path

  @functools.cached_property
  def manifest(self) -> dict[str, Any]:
    """What is in it; InputError if this is no cache."""
    file = self.path / MANIFEST
    try:
      manifest = json.loads(file.read_text())
    except OSError as error:
      raise InputError(f'{file}: no feature cache here; {_MEND}') from error
    except ValueError as error:
      raise InputError(f'{file}: not JSON ({error}); {_MEND}') from error
    if manifest.get('format_version') != FORMAT_VERSION:
      raise InputError(
        f'{file}: format {manifest.get("format_version")}, this code reads '
        f'{FORMAT_VERSION}; {_MEND}'
      )
    return manifest

  @property
  def width(self) -> int:
    """W."""
    return self.manifest['teacher']['width']

  @property
  def label(self) -> str:
    """What computed the features."""
    return self.manifest['teacher']['label']

  def manifest_hash(self) -> str:
    """One hash for the content."""
    return shards.sha256(self.path / MANIFEST)

  def check(self, datasets: Iterable[Path], *, verify: bool) -> None:
    """Raises unless it was made of these data sets and is undamaged.

    Args:
      datasets: Their folders.
      verify: Whether checksums are compared, beside sizes.
    """
    for dataset in datasets:
      manifest = shards.load_manifest(dataset)
      entry = self.manifest['datasets'].get(manifest['name'])
      if entry is None or entry['dataset_sha256'] != dataset_hash(manifest):
        found = 'other records of' if entry else 'nothing of'
        raise InputError(
          f'{self.path}: holds features of {found} {manifest["name"]!r} as it '
          f'is in {dataset}; {_MEND}'
        )
      for split in entry['splits'].values():
        for file in (split['index'], *split['shards']):
          self._check_file(file, verify=verify)

  def _check_file(self, entry: Mapping[str, Any], *, verify: bool) -> None:
    file = self.path / entry['file']
    size = file.stat().st_size if file.exists() else None
    if size != entry['bytes'] or (
      verify and shards.sha256(file) != entry['sha256']
    ):
      raise InputError(
        f'{file}: missing or corrupted ({size} bytes, {MANIFEST} says '
        f'{entry["bytes"]} and a checksum); {_MEND}'
      )

  def num_bytes(self) -> int:
    """Of all shards."""
    return sum(
      shard['bytes']
      for dataset in self.manifest['datasets'].values()
      for split in dataset['splits'].values()
      for shard in split['shards']
    )

  def open(self, name: str, split: str) -> 'SplitFeatures':
    """The features of a split of the data set of that name."""
    entry = self.manifest['datasets'][name]['splits'][split]
    return SplitFeatures(
      index=np.load(self.path / entry['index']['file']),
      paths=[self.path / shard['file'] for shard in entry['shards']],
      rows_per_shard=self.manifest['rows_per_shard'],
      width=self.width,
    )


class SplitFeatures:
  """Random access to the features of one split."""

  def __init__(
    self,
    *,
    index: np.ndarray,
    paths: Sequence[Path],
    rows_per_shard: int,
    width: int,
  ):
    self._index = index
    self._rows_per_shard = rows_per_shard
    self._shards = [_open_shard(path, width) for path in paths]

  def read(
    self, record_id: int, start: int, stop: int
  ) -> Float16[np.ndarray, 'n W'] | None:
    """Codons [start, stop) of a record; None if it has no features."""
    first, end = self._index[record_id : record_id + 2].tolist()
    if first == end:
      return None
    if not 0 <= start <= stop <= end - first:
      raise ValueError(f'codons {start} to {stop} of {end - first}')
    start, stop = first + start, first + stop
    size = self._rows_per_shard
    pieces = [
      self._shards[i][max(start - i * size, 0) : stop - i * size]
      for i in range(start // size, max(stop - 1, start) // size + 1)
    ]
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def _open_shard(path: Path, width: int) -> np.ndarray:
  try:
    shard = np.load(path, mmap_mode='r')
  except (OSError, ValueError) as error:
    raise InputError(f'{path}: cannot be read ({error}); {_MEND}') from error
  if shard.dtype != np.float16 or shard.shape[1:] != (width,):
    raise InputError(
      f'{path}: {shard.dtype}{list(shard.shape)}, {MANIFEST} says float16 of '
      f'width {width}; {_MEND}'
    )
  return shard


def dataset_hash(manifest: Mapping[str, Any]) -> str:
  """Hash of the records of a data set, from its manifest."""
  content = {key: manifest[key] for key in ('name', 'format_version', 'splits')}
  text = json.dumps(content, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()


def write(
  out: Path,
  datasets: Sequence[Path],
  blocks: Callable[[Path, str], Iterable[np.ndarray]],
  *,
  teacher: Mapping[str, Any],
  shard_bytes: int = _SHARD_BYTES,
  overwrite: bool = False,
) -> FeatureCache:
  """Writes a cache aside and renames it to `out`.

  Args:
    datasets: Their folders.
    blocks: From the folder of a data set and a split to [codons, W] for each
      of its records, in order; no rows for one without features.
    teacher: For the manifest; at least `label` and `width`.
    shard_bytes: About the size of a shard.
    overwrite: Whether to replace what is there.

  Raises:
    InputError: `out` exists, or a feature is no float16.
  """
  out = Path(out)
  if out.exists() and not overwrite:
    raise InputError(f'{out}: exists already; give another, or --overwrite')
  out.parent.mkdir(parents=True, exist_ok=True)
  width = teacher['width']
  rows_per_shard = max(shard_bytes // (2 * width), 1)
  manifest = {
    'format_version': FORMAT_VERSION,
    'teacher': dict(teacher),
    'rows_per_shard': rows_per_shard,
    'datasets': {},
  }
  with tempfile.TemporaryDirectory(prefix=f'.{out.name}.', dir=out.parent) as d:
    aside = Path(d) / 'made'
    aside.mkdir()
    for path in datasets:
      dataset = shards.load_manifest(path)
      name = dataset['name']
      manifest['datasets'][name] = {
        'dataset_sha256': dataset_hash(dataset),
        'splits': {
          split: _write_split(
            aside, f'{name}-{split}', blocks(path, split), width, rows_per_shard
          )
          for split in dataset['splits']
        },
      }
    text = json.dumps(manifest, indent=1, sort_keys=True)
    (aside / MANIFEST).write_text(text + '\n')
    if out.exists():
      os.rename(out, Path(d) / 'replaced')
    os.rename(aside, out)
  return FeatureCache(out)


def _write_split(
  folder: Path,
  stem: str,
  blocks: Iterable[np.ndarray],
  width: int,
  rows_per_shard: int,
) -> dict[str, Any]:
  """Writes index and shards; returns their entry in the manifest."""
  index, written = [0], []
  buffer, used = np.empty((rows_per_shard, width), np.float16), 0

  def save(suffix: str, array: np.ndarray) -> dict[str, Any]:
    file = folder / f'{stem}{suffix}.npy'
    np.save(file, array)
    size = file.stat().st_size
    return {'file': file.name, 'bytes': size, 'sha256': shards.sha256(file)}

  for number, block in enumerate(blocks):
    with np.errstate(over='ignore'):
      rounded = block.astype(np.float16)
    if not np.isfinite(rounded).all():
      raise InputError(
        f'{stem}: the features of record {number} are not finite in float16; '
        'choose another layer'
      )
    index.append(index[-1] + len(block))
    while len(rounded):
      part, rounded = np.split(rounded, [rows_per_shard - used])
      buffer[used : used + len(part)] = part
      used += len(part)
      if used == rows_per_shard:
        written.append(save(f'-{len(written):05d}', buffer))
        used = 0
  if used:
    written.append(save(f'-{len(written):05d}', buffer[:used]))
  return {
    'records': len(index) - 1,
    'rows': index[-1],
    'index': save('.index', np.array(index, np.int64)),
    'shards': written,
  }
