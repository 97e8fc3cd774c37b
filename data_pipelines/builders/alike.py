"""Leaves out records that are like others of a data set, by their minimizers.

CDS and proteins are compared by residues, other kinds by bases on both strands,
each with its own kind. Every step is a function of a plan (`staged`): pieces
are sketched, minimizers meet in buckets, and pieces lose what is left out.
"""

import collections
import dataclasses
import hashlib
import pickle
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped

from data_pipelines import central_dogma
from data_pipelines.builders import pieces, shards, staged
from data_pipelines.builders.manifest import Reject
from data_pipelines.builders.units import Made, Setting
from data_pipelines.errors import InputError
from data_pipelines.minimizers import Scheme
from data_pipelines.records import CDS, KINDS, PROTEIN, SPLITS, Record

_BASES = Scheme(21, 11, 4, has_two_strands=True)
_RESIDUES = Scheme(8, 5, central_dogma.STOP, has_two_strands=False)
# Minimizers of so many bases, sorted, take some 500 MB.
_BASES_PER_BUCKET = 50_000_000
_SKETCH, _ENDS, _COUNTS = 'sketch.npy', 'ends.npy', 'counts.npz'
_ENTRY = np.dtype(
  [('hash', 'u8'), ('number', 'u4'), ('group', 'u1'), ('split', 'u1')]
)


@dataclasses.dataclass(frozen=True)
class Alike:
  """Shares of a record's minimizers from which on it is left out.

  Attributes:
    near_duplicates: That records before it in its split have, too; None keeps
      all.
    homology: Of a record that trains, that held-out records have; None keeps
      all.
  """

  near_duplicates: float | None = None
  homology: float | None = None

  def __post_init__(self):
    for name, share in dataclasses.asdict(self).items():
      if share is not None and not 0 < share <= 1:
        raise InputError(f'--{name}={share}: give a share above 0, at most 1')

  def __bool__(self) -> bool:
    return self.near_duplicates is not None or self.homology is not None


def leave_out(
  alike: Alike,
  stage: staged.Stage,
  setting: Setting,
  folders: Sequence[Path],
) -> list[Path]:
  """The pieces, or others in their place without what is left out."""
  num_bases = sum(setting.organism.contigs.lengths.values())
  buckets = 1 + num_bases // _BASES_PER_BUCKET
  plans = [
    (folder / 'sketch.pickle', (str(folder), buckets), folder / _SKETCH)
    for folder in folders
  ]
  stage.do(_sketch, plans, 'sketches')
  numbers = _numbers(folders)
  read = [(str(p), first) for p, first in zip(folders, numbers, strict=True)]
  meet = stage.folder / 'meet'
  plans = [
    (
      meet / f'{bucket}.pickle',
      (bucket, read),
      meet / str(bucket) / _COUNTS,
    )
    for bucket in range(buckets)
  ]
  stage.do(_meet, plans, 'buckets')
  shares = _shares(folders, numbers, [result for _, _, result in plans])
  units = []
  for piece, first in zip(folders, numbers, strict=True):
    dropped = _dropped(alike, piece, first, shares)
    units.append(Kept(str(piece), dropped) if dropped else None)
  changed = [unit for unit in units if unit]
  made = iter(stage.make(setting, changed, 'kept'))
  return [
    next(made) if unit else piece
    for unit, piece in zip(units, folders, strict=True)
  ]


@dataclasses.dataclass(frozen=True)
class Kept:
  """A unit: the records of a piece but for some.

  Attributes:
    folder: Of the piece.
    dropped: Why, by split and place in it.
  """

  folder: str
  dropped: Mapping[tuple[str, int], tuple[str, str]]

  def records(
    self, setting: Setting, made: Made
  ) -> Iterator[tuple[str, Record]]:
    """With the split of each."""
    del setting
    (before,) = staged.made([Path(self.folder)])
    made.findings, made.used = before.findings, before.used
    for split in SPLITS:
      for place, record in enumerate(_records(Path(self.folder), split)):
        why = self.dropped.get((split, place))
        if why is None:
          yield split, record
        else:
          kind = KINDS[record.kind]
          made.findings.rejects.append(Reject(record.name, kind, *why))


def _records(folder: Path, split: str) -> Iterator[Record]:
  for data in pieces.read_records(folder / split):
    fields = shards.decode(data, shards.FIELDS)
    plain = {name: fields[name].item() for name in shards.SCALARS}
    yield Record(**{**fields, **plain})


def _sketch(path: str) -> None:
  """Distinct minimizers of every record of a piece, by bucket."""
  if not Path(path).exists():
    return
  folder, buckets = pickle.loads(Path(path).read_bytes())
  found = []
  for index, split in enumerate(SPLITS):
    for number, record in enumerate(_records(Path(folder), split)):
      hashes, group = _minimizers(record)
      entries = np.zeros(len(hashes), _ENTRY)
      entries['hash'], entries['group'] = hashes, group
      entries['number'], entries['split'] = number, index
      found.append(entries)
  entries = np.concatenate([np.zeros(0, _ENTRY), *found])
  # All hashes are odd.
  bucket = (entries['hash'] >> np.uint64(1)) % np.uint64(buckets)
  order = np.argsort(bucket, kind='stable')
  ends = np.searchsorted(bucket[order], np.arange(buckets + 1))
  with pieces.whole(Path(folder) / _ENDS) as file, open(file, 'wb') as index:
    np.save(index, ends)
  with pieces.whole(Path(folder) / _SKETCH) as file, open(file, 'wb') as sketch:
    np.save(sketch, entries[order])
  Path(path).unlink(missing_ok=True)


def _minimizers(record: Record) -> tuple[Shaped[np.ndarray, 'm'], int]:
  """Hashes, and a number of those among which they are compared."""
  scheme, letters, group = _BASES, record.sequence, record.kind
  if record.kind in (CDS, PROTEIN):
    scheme, group = _RESIDUES, CDS
    letters = np.minimum(record.amino_acids, np.uint8(central_dogma.STOP))
  hashes = np.unique(scheme.find(letters)[1])
  if not len(hashes):
    # Too short for one: as a whole, on the strand as it is.
    whole = hashlib.sha256(letters.tobytes()).digest()[:8]
    hashes = np.frombuffer(whole, np.uint64)
  return hashes, int(group)


def _numbers(folders: Sequence[Path]) -> list[tuple[int, ...]]:
  """Of the first record of each split of each piece, among all of the split."""
  firsts, total = [], [0] * len(SPLITS)
  for made in staged.made(folders):
    firsts.append(tuple(total))
    for index, split in enumerate(SPLITS):
      total[index] += len(made.tally.lengths.get(split, ()))
  return firsts


def _meet(path: str) -> None:
  """Counts, of every record, minimizers that others of the bucket have."""
  if not Path(path).exists():
    return
  bucket, read = pickle.loads(Path(path).read_bytes())
  parts = [np.zeros(0, _ENTRY)]
  for folder, firsts in read:
    low, high = np.load(Path(folder) / _ENDS)[bucket : bucket + 2]
    part = np.load(Path(folder) / _SKETCH, mmap_mode='r')[low:high].copy()
    part['number'] += np.array(firsts, np.uint32)[part['split']]
    parts.append(part)
  counts = _count(np.concatenate(parts))
  folder = Path(path).with_suffix('')
  folder.mkdir(exist_ok=True)
  with pieces.whole(folder / _COUNTS) as file, open(file, 'wb') as sums:
    np.savez(sums, **counts)
  Path(path).unlink(missing_ok=True)


def _count(
  entries: Shaped[np.ndarray, 'm'],
) -> dict[str, Shaped[np.ndarray, '_']]:
  """Minimizers of each record of a split: all, and those of other records."""
  names = 'number', 'split', 'hash', 'group'
  entries = entries[np.lexsort([entries[name] for name in names])]
  is_new = _differs(entries, 'group', 'hash')
  is_first = is_new | _differs(entries, 'split')
  is_held_out = entries['split'] > 0
  if len(entries):
    of_hash = np.logical_or.reduceat(is_held_out, np.flatnonzero(is_new))
    is_held_out = of_hash[np.cumsum(is_new) - 1]
  found = {
    'all': np.ones(len(entries), bool),
    'before': ~is_first,
    'held_out': is_held_out,
  }
  return {
    f'{split} {name}': np.bincount(
      entries['number'][what & (entries['split'] == index)]
    ).astype(np.uint32)
    for index, split in enumerate(SPLITS)
    for name, what in found.items()
  }


def _differs(
  entries: Shaped[np.ndarray, 'm'], *names: str
) -> Shaped[np.ndarray, 'm']:
  """Whether an entry is another than the one before it."""
  found = np.zeros(len(entries), bool)
  found[:1] = True
  for name in names:
    found[1:] |= entries[name][1:] != entries[name][:-1]
  return found


def _shares(
  folders: Sequence[Path],
  numbers: Sequence[tuple[int, ...]],
  results: Sequence[Path],
) -> dict[tuple[str, str], Float[np.ndarray, 'n']]:
  """Of every record of a split: before it, and held out; 0 without any."""
  counts = collections.defaultdict(int)
  sizes = dict.fromkeys(SPLITS, 0)
  for made in staged.made(folders[-1:]):
    for split, first in zip(SPLITS, numbers[-1], strict=True):
      sizes[split] = first + len(made.tally.lengths.get(split, ()))
  for result in results:
    with np.load(result) as found:
      for name, values in found.items():
        split = name.split()[0]
        padded = np.zeros(sizes[split], np.int64)
        padded[: len(values)] = values
        counts[name] = counts[name] + padded
  shares = {}
  for split in SPLITS:
    total = np.maximum(counts[f'{split} all'], 1)
    for what in ('before', 'held_out'):
      shares[split, what] = counts[f'{split} {what}'] / total
  return shares


def _dropped(
  alike: Alike,
  piece: Path,
  firsts: tuple[int, ...],
  shares: Mapping[tuple[str, str], Float[np.ndarray, 'n']],
) -> dict[tuple[str, int], tuple[str, str]]:
  """Why, by split and place in the piece."""
  (made,) = staged.made([piece])
  dropped = {}
  for split, first in zip(SPLITS, firsts, strict=True):
    stop = first + len(made.tally.lengths.get(split, ()))
    for what, limit, reason, where in (
      ('before', alike.near_duplicates, 'near_duplicate', 'records before it'),
      ('held_out', alike.homology, 'like_held_out', 'held-out records'),
    ):
      if limit is None or (what == 'held_out' and split != 'train'):
        continue
      found = shares[split, what][first:stop]
      for place in np.flatnonzero(found >= limit).tolist():
        detail = f'{found[place]:.2f} of its minimizers are in {where}'
        dropped[split, place] = reason, detail
  return dropped
