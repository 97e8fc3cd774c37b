"""Windows with tracks in the format of Borzoi (doi:10.1038/s41588-024-02053-6).

A folder has targets.txt, statistics.json and tfrecords/SPLIT-NUMBER.tfr. Bins
lie in the middle of a window; crop_bp bases on either side have none.
"""

import dataclasses
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8

from data_pipelines import central_dogma
from data_pipelines.endless import Batch
from data_pipelines.errors import InputError
from data_pipelines.readers import tfrecord
from data_pipelines.tasks import table

# What the loop calls a split, and what files do.
_FILES = {'train': 'train', 'validation': 'valid', 'test': 'test'}
_SIZES = ('num_targets', 'seq_length', 'pool_width', 'target_length')
_COLUMNS = ('identifier', 'strand_pair', 'description')


@dataclasses.dataclass(frozen=True)
class TrackWindows:
  """Windows of one genome.

  Attributes:
    path: The folder.
    assays: Beginnings of the descriptions of the tracks that are read, before
      their first colon; () reads all.
    flank: Bases that batches have on either side of those with tracks; None is
      all that there are.
  """

  path: str
  assays: tuple[str, ...] = ()
  flank: int | None = None

  @functools.cached_property
  def sizes(self) -> Mapping[str, Any]:
    """What statistics.json says."""
    file = Path(self.path) / 'statistics.json'
    try:
      found = json.loads(file.read_text())
    except (OSError, ValueError) as error:
      raise InputError(f'{file}: cannot be read as JSON ({error})') from error
    if missing := [name for name in _SIZES if name not in found]:
      raise InputError(f'{file}: no {missing[0]}; is this of Borzoi?')
    return found

  @functools.cached_property
  def tracks(self) -> tuple[str, ...]:
    """Descriptions of the tracks that are read."""
    return tuple(self._targets[i][2] for i in self._chosen.tolist())

  @functools.cached_property
  def assay_of(self) -> Shaped[np.ndarray, 't']:
    """Of each track that is read."""
    return np.array([name.split(':')[0] for name in self.tracks])

  @functools.cached_property
  def _targets(self) -> list[tuple[str, int, str]]:
    path = Path(self.path) / 'targets.txt'
    found = [
      (
        row.text('identifier'),
        row.integer('strand_pair'),
        row.text('description'),
      )
      for row in table.read(path, _COLUMNS, delimiter='\t')
    ]
    if len(found) != self.sizes['num_targets']:
      raise InputError(
        f'{path}: {len(found)} tracks, statistics.json says '
        f'{self.sizes["num_targets"]}'
      )
    return found

  @functools.cached_property
  def _chosen(self) -> Int[np.ndarray, 't']:
    names = [description.split(':')[0] for _, _, description in self._targets]
    known = sorted(set(names))
    if unknown := sorted(set(self.assays) - set(known)):
      raise InputError(
        f'{self.path}/targets.txt: no track of {unknown[0]}; there are '
        f'{", ".join(known)}'
      )
    is_read = [not self.assays or name in self.assays for name in names]
    return np.flatnonzero(is_read)

  @functools.cached_property
  def opposite(self) -> Int[np.ndarray, 't']:
    """Of each track that is read, the one of the other strand."""
    place = {track: at for at, track in enumerate(self._chosen.tolist())}
    pairs = [self._targets[i][1] for i in self._chosen.tolist()]
    if missing := sorted(set(pairs) - place.keys()):
      raise InputError(
        f'{self.path}/targets.txt: strand_pair {missing[0]} is no track that '
        'is read; read the assays of both, or set data.both_strands to False'
      )
    return np.array([place[pair] for pair in pairs])

  @functools.cached_property
  def _read_bases(self) -> slice:
    """Those of a window that batches have."""
    length = self.sizes['seq_length']
    inside = self.sizes['target_length'] * self.sizes['pool_width']
    there = (length - inside) // 2
    flank = there if self.flank is None else self.flank
    if not 0 <= flank <= there:
      raise InputError(
        f'{self.path}: flank={flank}, windows have {there} bases on either '
        'side of their tracks; give at most as many'
      )
    return slice(there - flank, length - there + flank)

  def windows(
    self, split: str
  ) -> tuple[UInt8[np.ndarray, 'w n'], Float[np.ndarray, 'w m t']]:
    """All windows of a split: bases 0..4 and tracks."""
    if split not in self._read:
      self._read[split] = self._read_split(split)
    return self._read[split]

  @functools.cached_property
  def _read(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {}

  def _read_split(self, split: str) -> tuple[np.ndarray, np.ndarray]:
    folder = Path(self.path) / 'tfrecords'
    files = sorted(folder.glob(f'{_FILES[split]}-*.tfr'), key=_number)
    if not files:
      raise InputError(f'{folder}: there is no {_FILES[split]}-0.tfr')
    length = self.sizes['seq_length']
    shape = self.sizes['target_length'], self.sizes['num_targets']
    sequences, targets = [], []
    for file in files:
      for number, features in enumerate(tfrecord.read_examples(file), 1):
        where = f'{file}, record {number}'
        sequence = _array(features, 'sequence', np.uint8, (length,), where)
        target = _array(features, 'target', np.float16, shape, where)
        if sequence.max(initial=0) > 4:
          raise InputError(
            f'{where}: base {sequence.max()}; A C G T N are 0 to 4'
          )
        sequences.append(sequence)
        targets.append(target[:, self._chosen].astype(np.float32))
    return np.stack(sequences), np.stack(targets)

  @functools.cached_property
  def scale(self) -> tuple[Float[np.ndarray, 't'], Float[np.ndarray, 't']]:
    """Mean and deviation of log(1 + coverage) along the windows that train."""
    found = np.log1p(self.windows('train')[1])
    deviation = found.std((0, 1))
    if (empty := np.flatnonzero(deviation <= 0)).size:
      raise InputError(
        f'{self.path}: the coverage of {self.tracks[empty[0]]} is the same '
        'everywhere in the windows that train; leave it out'
      )
    return found.mean((0, 1)), deviation

  def batch(
    self,
    split: str,
    index: Int[np.ndarray, '_'],
    is_reverse: np.ndarray | None = None,
  ) -> Batch:
    """Windows of these numbers.

    Args:
      split: Theirs.
      index: Of each row.
      is_reverse: Which rows are read on the other strand, tracks of strands
        swapped; None is none of them.

    Returns:
      sequence, segment_ids and positions [B, N]; target [B, M, T].
    """
    sequences, targets = self.windows(split)
    sequence, target = sequences[index][:, self._read_bases], targets[index]
    for row in np.flatnonzero([] if is_reverse is None else is_reverse):
      sequence[row] = central_dogma.reverse_complement(sequence[row])
      target[row] = target[row, ::-1][:, self.opposite]
    shape = sequence.shape
    return {
      'sequence': sequence,
      'segment_ids': np.ones(shape, np.int32),
      'positions': np.broadcast_to(np.arange(shape[1], dtype=np.int32), shape),
      'target': target,
    }


def _number(path: Path) -> int:
  return int(path.stem.rpartition('-')[2])


def _array(
  features: Mapping[str, bytes],
  name: str,
  dtype: type,
  shape: tuple[int, ...],
  where: str,
) -> np.ndarray:
  if name not in features:
    raise InputError(f'{where}: no feature {name!r}; is this of Borzoi?')
  values = np.frombuffer(features[name], dtype)
  if values.size != np.prod(shape):
    raise InputError(
      f'{where}: {name} has {values.size:,} values, statistics.json says '
      f'{" x ".join(map(str, shape))}'
    )
  return values.reshape(shape)
