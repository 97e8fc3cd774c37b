"""What a model was trained on, searchable: the minimizers of the shards."""

import dataclasses
import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from data_pipelines import central_dogma, records
from data_pipelines.builders import shards
from data_pipelines.errors import InputError
from data_pipelines.minimizers import Scheme, TextIndex
from data_pipelines.pipeline import Shards

# Of the file; to be raised whenever its content would differ.
FORMAT_VERSION = 1

_FIELDS = (
  'sequence',
  'kind',
  'genetic_code',
  'amino_acids',
  'codon_is_sampled',
  'contig',
  'start',
  'end',
)
_ARRAYS = ('text', 'hashes', 'positions')
# Records decoded at once.
_BATCH = 256
# The twenty residues come first; a stop, U, O and X are one unknown letter.
_NUM_RESIDUES = central_dogma.STOP


@dataclasses.dataclass(frozen=True)
class Index:
  """Training records by their minimizers.

  Attributes:
    bases: Of records whose codons were not drawn, both strands.
    residues: Of CDS and proteins.
  """

  bases: TextIndex
  residues: TextIndex

  @classmethod
  def build(
    cls,
    paths: Sequence[Path],
    split: str = 'train',
    k: int = 21,
    window: int = 11,
    residue_k: int = 8,
    residue_window: int = 5,
  ) -> 'Index':
    """Of one split of the data sets; those without it have nothing in it.

    Takes a second for 4 Mb on one core, and at most 13 bytes a base; what is
    kept are 4 bytes a base.
    """
    of_bases, of_residues = _schemes(k, window, residue_k, residue_window)
    return cls(
      TextIndex.build(of_bases, _bases(paths, split)),
      TextIndex.build(of_residues, _residues(paths, split)),
    )


def data_hash(folder: str | Path) -> str:
  """Of all that is in the data sets below `folder`."""
  return Shards(folder).manifest_hash()


def open_index(
  folder: str | Path, split: str = 'train', k: int = 21, window: int = 11
) -> Index:
  """The index of the data sets below `folder`.

  It is made once and kept there, in a hidden file whose name follows from the
  manifests: other data never meet an old index.
  """
  data = Shards(folder)
  options = {'split': split, 'k': k, 'window': window}
  text = json.dumps([FORMAT_VERSION, data.manifest_hash(), options])
  key = hashlib.sha256(text.encode()).hexdigest()[:16]
  path = Path(folder) / f'.contamination-{key}.npz'
  if not path.exists():
    _save(Index.build(data.datasets, **options), path)
  return _load(path, _schemes(k, window))


def as_residues(
  sequence: UInt8[np.ndarray, 'n'], genetic_code: int
) -> UInt8[np.ndarray, 'm']:
  """Letters of the residue index for a coding sequence."""
  return _known(central_dogma.translate(sequence, genetic_code))


def _known(amino_acids: UInt8[np.ndarray, 'm']) -> UInt8[np.ndarray, 'm']:
  return np.minimum(amino_acids, np.uint8(_NUM_RESIDUES))


def _schemes(
  k: int, window: int, residue_k: int = 8, residue_window: int = 5
) -> tuple[Scheme, Scheme]:
  return (
    Scheme(k, window, records.N, has_two_strands=True),
    Scheme(residue_k, residue_window, _NUM_RESIDUES, has_two_strands=False),
  )


def _records(paths: Sequence[Path], split: str) -> Iterator[dict[str, Any]]:
  for path in paths:
    if split not in shards.load_manifest(path)['splits']:
      continue
    source = shards.open_split(path, split, _FIELDS)
    for start in range(0, len(source), _BATCH):
      stop = min(start + _BATCH, len(source))
      yield from source.__getitems__(range(start, stop))


def _bases(
  paths: Sequence[Path], split: str
) -> Iterator[UInt8[np.ndarray, 'n']]:
  """Bases of the molecules; windows that follow each other are one again."""
  run, place = [], None
  for record in _records(paths, split):
    if record['codon_is_sampled']:
      continue
    is_window = record['kind'] == records.GENOME
    if run and not (is_window and place == (record['contig'], record['start'])):
      yield np.concatenate(run)
      run = []
    run.append(record['sequence'])
    place = (record['contig'], record['end']) if is_window else None
  if run:
    yield np.concatenate(run)


def _residues(
  paths: Sequence[Path], split: str
) -> Iterator[UInt8[np.ndarray, 'm']]:
  for record in _records(paths, split):
    if record['kind'] in (records.CDS, records.PROTEIN):
      if record['amino_acids'].size:
        yield _known(record['amino_acids'])
      else:
        yield as_residues(record['sequence'], int(record['genetic_code']))


def _save(index: Index, path: Path) -> None:
  arrays = {
    f'{letters}_{name}': getattr(getattr(index, letters), name)
    for letters in ('bases', 'residues')
    for name in _ARRAYS
  }
  with tempfile.TemporaryDirectory(prefix='.', dir=path.parent) as aside:
    np.savez(Path(aside) / path.name, **arrays)
    os.replace(Path(aside) / path.name, path)


def _load(path: Path, schemes: tuple[Scheme, Scheme]) -> Index:
  try:
    with np.load(path) as arrays:
      found = [
        TextIndex(scheme, *(arrays[f'{letters}_{name}'] for name in _ARRAYS))
        for letters, scheme in zip(('bases', 'residues'), schemes, strict=True)
      ]
  except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
    raise InputError(
      f'{path}: cannot be read ({error}); remove it, it is made again'
    ) from error
  return Index(*found)
