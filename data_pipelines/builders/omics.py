"""Builds record shards: a TFDS data set of ArrayRecord files and a manifest."""

import contextlib
import dataclasses
import io
import itertools
import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines import central_dogma
from data_pipelines.builders import shards
from data_pipelines.builders.shards import (
  FIELDS,
  FORMAT_VERSION,
  OmicsSource,
  find_datasets,
  load_lengths,
  load_manifest,
  open_split,
  verify,
)
from data_pipelines.errors import InputError
from data_pipelines.records import CDS, KINDS, PHASE_NONE, N, Record

__all__ = [
  'FIELDS',
  'Omics',
  'OmicsSource',
  'Reject',
  'check_target',
  'find_datasets',
  'load_lengths',
  'load_manifest',
  'open_split',
  'verify',
  'write',
]

VERSION = '1.0.0'
# Written to while a data set is being made; read by nobody.
_FLAGS = tfds.download.DownloadConfig(compute_stats='skip')


class Reject(NamedTuple):
  """A record left out, and why: one row of `rejects.tsv`."""

  record: str
  kind: str
  reason: str
  detail: str = ''


@dataclasses.dataclass
class Tally:
  """What the manifest says of the records that passed."""

  lengths: dict[str, list[tuple[int, int]]] = dataclasses.field(
    default_factory=lambda: defaultdict(list)
  )
  codons: np.ndarray = dataclasses.field(
    default_factory=lambda: np.zeros(64, np.int64)
  )
  genetic_codes: set[int] = dataclasses.field(default_factory=set)
  names: set[str] = dataclasses.field(default_factory=set)

  def add(self, split: str, record: Record) -> None:
    """Counts a record; codons only of the real CDS in train."""
    if record.name in self.names:
      raise InputError(
        f'{record.source}: two records are named {record.name!r}; names must '
        'be unique within a data set'
      )
    self.names.add(record.name)
    self.genetic_codes.add(int(record.genetic_code))
    self.lengths[split].append((int(record.kind), len(record.sequence)))
    if record.kind == CDS and split == 'train' and not record.codon_is_sampled:
      self.codons += central_dogma.codon_counts(record.sequence)


class Omics(tfds.core.GeneratorBasedBuilder):
  """Writes records in the order given; `write` adds the manifest.

  `soft_mask` is stored empty when no base is masked, and `codon_phase` when no
  base is in a codon: most genome windows are then a third as large to read.
  """

  VERSION = tfds.core.Version(VERSION)

  def __init__(
    self,
    *,
    dataset_name: str,
    records: Mapping[str, Iterable[Record]],
    tally: Tally,
    **options,
  ):
    self.name = dataset_name
    self._records = records
    self._tally = tally
    super().__init__(file_format='array_record', **options)

  def _info(self) -> tfds.core.DatasetInfo:
    encoding = tfds.features.Encoding.BYTES
    features = {
      key: tfds.features.Tensor(shape=(None,), dtype=dtype, encoding=encoding)
      for key, dtype in shards.ARRAYS.items()
    }
    features |= {key: tfds.features.Text() for key in shards.TEXTS}
    features |= shards.SCALARS
    return tfds.core.DatasetInfo(
      builder=self,
      features=tfds.features.FeaturesDict(features),
      # The pipeline shuffles globally; here the order is the caller's.
      disable_shuffling=True,
    )

  def _split_generators(self, dl_manager):
    del dl_manager
    return {split: self._generate_examples(split) for split in self._records}

  def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
    for index, record in enumerate(self._records[split]):
      self._tally.add(split, record)
      yield index, _example(record)


def write(
  records: Mapping[str, Iterable[Record]],
  out: Path,
  name: str,
  *,
  provenance: Mapping[str, Any],
  rejects: Iterable[Reject] = (),
  counts: Mapping[str, Any] | None = None,
  overwrite: bool = False,
) -> dict[str, Any]:
  """Writes the data set `out/name` and returns its manifest.

  Shards are made aside and renamed at the end, so that no reader sees half a
  data set. One of other provenance is replaced only if `overwrite`. `rejects`
  is read after the records. Splits without a record are left out.
  """
  out = Path(out)
  check_target(out, name, provenance, overwrite=overwrite)
  out.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(prefix=f'.{name}.', dir=out) as aside:
    tally = Tally()
    directory = _write_shards(_without_empty(records), aside, name, tally)
    manifest = {
      'name': name,
      'version': VERSION,
      'format_version': FORMAT_VERSION,
      'splits': _describe(directory, name, tally),
      'codon_usage': _frequencies(tally.codons),
      'genetic_codes': sorted(tally.genetic_codes),
      'provenance': dict(provenance),
      'counts': {'kinds': _count_kinds(tally), **(counts or {})},
    }
    _write_rejects(directory / 'rejects.tsv', rejects)
    text = json.dumps(manifest, indent=1, sort_keys=True)
    (directory / shards.MANIFEST).write_text(text + '\n')
    _publish(directory.parent, out / name, Path(aside) / 'replaced')
  return manifest


def check_target(
  out: Path, name: str, provenance: Mapping[str, Any], *, overwrite: bool
) -> None:
  """Raises if `out/name` holds something else than this data set."""
  target = Path(out) / name
  if overwrite or not target.exists():
    return
  try:
    same = load_manifest(target)['provenance'] == json.loads(
      json.dumps(dict(provenance))
    )
  except InputError:
    same = False
  if not same:
    raise InputError(
      f'{target}: exists already with other content; give another --out or '
      '--name, or --overwrite to replace it'
    )


def _example(record: Record) -> dict[str, Any]:
  num_bases = len(record.sequence)
  if not num_bases or record.sequence.max() > N:
    raise InputError(f'{record.name}: empty, or a base is not 0..4')
  if len(record.soft_mask) != num_bases or len(record.codon_phase) != num_bases:
    raise InputError(f'{record.name}: arrays differ in length')
  example = {
    field.name: getattr(record, field.name)
    for field in dataclasses.fields(record)
  }
  if not record.soft_mask.any():
    example['soft_mask'] = np.zeros(0, np.bool_)
  if (record.codon_phase == PHASE_NONE).all():
    example['codon_phase'] = np.zeros(0, np.uint8)
  return example


def _without_empty(
  records: Mapping[str, Iterable[Record]],
) -> dict[str, Iterable[Record]]:
  iterators = {split: iter(stream) for split, stream in records.items()}
  first = {split: next(stream, None) for split, stream in iterators.items()}
  if not any(first.values()):
    raise InputError(
      'no record to write: every one was rejected, or none given'
    )
  return {
    split: itertools.chain([first[split]], stream)
    for split, stream in iterators.items()
    if first[split] is not None
  }


def _write_shards(
  records: Mapping[str, Iterable[Record]], aside: str, name: str, tally: Tally
) -> Path:
  builder = Omics(
    dataset_name=name, records=records, tally=tally, data_dir=aside
  )
  # TFDS prints its own story; ours is the caller's progress bar.
  tfds.disable_progress_bar()
  with contextlib.redirect_stdout(io.StringIO()):
    builder.download_and_prepare(download_config=_FLAGS)
  return Path(aside) / name / VERSION


def _describe(directory: Path, name: str, tally: Tally) -> dict[str, Any]:
  splits = {}
  for split, lengths in tally.lengths.items():
    table = np.array(lengths, np.int32)
    lengths_file = f'{split}.lengths.npy'
    np.save(directory / lengths_file, table)
    files = sorted(directory.glob(f'{name}-{split}.array_record-*'))
    splits[split] = {
      'records': len(table),
      'bases': int(table[:, 1].sum(dtype=np.int64)),
      'lengths_file': lengths_file,
      'shards': [
        {
          'file': file.name,
          'sha256': shards.sha256(file),
          'bytes': file.stat().st_size,
        }
        for file in files
      ],
    }
  return splits


def _frequencies(counts: np.ndarray) -> dict[str, float]:
  """Share of each codon among all; zeros where no CDS was seen."""
  shares = counts / max(counts.sum(), 1)
  return dict(zip(central_dogma.CODONS, shares.tolist(), strict=True))


def _count_kinds(tally: Tally) -> dict[str, dict[str, int]]:
  return {
    split: {
      kind: sum(1 for k, _ in lengths if k == index)
      for index, kind in enumerate(KINDS)
    }
    for split, lengths in tally.lengths.items()
  }


def _write_rejects(path: Path, rejects: Iterable[Reject]) -> None:
  with open(path, 'w', encoding='utf-8') as file:
    file.write('\t'.join(Reject._fields) + '\n')
    for reject in rejects:
      cells = (' '.join(str(cell).split()) for cell in reject)
      file.write('\t'.join(cells) + '\n')


def _publish(made: Path, target: Path, replaced: Path) -> None:
  if target.exists():
    os.rename(target, replaced)
  os.rename(made, target)
