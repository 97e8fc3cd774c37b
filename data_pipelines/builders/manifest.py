"""What is known of a data set beside its shards."""

import collections
import dataclasses
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_pipelines import central_dogma
from data_pipelines.builders import shards
from data_pipelines.errors import InputError
from data_pipelines.records import CDS, KINDS, Record

VERSION = '1.0.0'


class Reject(NamedTuple):
  """A record left out, and why: one row of `rejects.tsv`."""

  record: str
  kind: str
  reason: str
  detail: str = ''


def _new_lists() -> dict[str, list[tuple[int, int]]]:
  return defaultdict(list)


@dataclasses.dataclass
class Tally:
  """What the manifest says of the records that passed.

  Attributes:
    lengths: Kind and bases of each, by split.
    sizes: Bytes of all examples of a split.
    codons: Of real CDS of train.
    genetic_codes: All that occur.
    names: Of all records.
  """

  lengths: dict[str, list[tuple[int, int]]] = dataclasses.field(
    default_factory=_new_lists
  )
  sizes: collections.Counter = dataclasses.field(
    default_factory=collections.Counter
  )
  codons: np.ndarray = dataclasses.field(
    default_factory=lambda: np.zeros(64, np.int64)
  )
  genetic_codes: set[int] = dataclasses.field(default_factory=set)
  names: set[str] = dataclasses.field(default_factory=set)

  def add(self, split: str, record: Record, size: int = 0) -> None:
    """Counts a record of some bytes; codons only of the real CDS in train."""
    self._name([record.name], record.source)
    self.genetic_codes.add(int(record.genetic_code))
    self.lengths[split].append((int(record.kind), len(record.sequence)))
    self.sizes[split] += size
    if record.kind == CDS and split == 'train' and not record.codon_is_sampled:
      self.codons += central_dogma.codon_counts(record.sequence)

  def update(self, later: 'Tally', source: str) -> None:
    """Counts the records of another, behind these."""
    self._name(later.names, source)
    for split, lengths in later.lengths.items():
      self.lengths[split] += lengths
    self.sizes.update(later.sizes)
    self.codons += later.codons
    self.genetic_codes |= later.genetic_codes

  def _name(self, names: Collection[str], source: str) -> None:
    if taken := sorted(self.names.intersection(names)):
      raise InputError(
        f'{source}: two records are named {taken[0]!r}; names must be unique '
        'within a data set'
      )
    self.names.update(names)


def describe(
  directory: Path,
  name: str,
  tally: Tally,
  *,
  provenance: Mapping[str, Any],
  rejects: Iterable[Reject] = (),
  counts: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
  """Writes the manifest of a folder of shards, and what it names."""
  manifest = {
    'name': name,
    'version': VERSION,
    'format_version': shards.FORMAT_VERSION,
    'splits': _describe_splits(directory, name, tally),
    'codon_usage': _frequencies(tally.codons),
    'genetic_codes': sorted(tally.genetic_codes),
    'provenance': dict(provenance),
    'counts': {'kinds': _count_kinds(tally), **(counts or {})},
  }
  _write_rejects(directory / 'rejects.tsv', rejects)
  text = json.dumps(manifest, indent=1, sort_keys=True)
  (directory / shards.MANIFEST).write_text(text + '\n')
  return manifest


def _describe_splits(
  directory: Path, name: str, tally: Tally
) -> dict[str, Any]:
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
