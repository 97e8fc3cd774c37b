"""Windows of several genomes for one model, as Enformer was trained."""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping

import numpy as np
from jaxtyping import Int

from data_pipelines.endless import Batch, EndlessBatches, local_rows
from data_pipelines.errors import InputError
from data_pipelines.tracks.borzoi import TrackWindows

_ALIKE = ('seq_length', 'target_length', 'pool_width')


@dataclasses.dataclass(frozen=True)
class Species:
  """Windows of genomes, and how they become batches.

  All tracks of all genomes lie side by side in a batch; a window has those of
  its own genome.

  Attributes:
    genomes: By name.
    batch_size: Windows in a batch, over all processes.
    seed: Of order and strands.
    both_strands: Whether training reads a window on a strand drawn for it,
      tracks of strands swapped.
  """

  genomes: Mapping[str, TrackWindows]
  batch_size: int = 1
  seed: int = 0
  both_strands: bool = True

  @functools.cached_property
  def tracks(self) -> Mapping[str, slice]:
    """Where in a batch the tracks of each genome are.

    Raises:
      InputError: Genomes have windows or bins of other sizes.
    """
    found, first, sizes = {}, 0, None
    for name, windows in self.genomes.items():
      here = {size: windows.sizes[size] for size in _ALIKE}
      if sizes not in (None, here):
        raise InputError(
          f'{windows.path}: windows of {here}, other genomes have {sizes}; '
          'train them apart'
        )
      sizes, last = here, first + len(windows.tracks)
      found[name], first = slice(first, last), last
    return found

  @property
  def num_tracks(self) -> int:
    """T, of all genomes."""
    return max(place.stop for place in self.tracks.values())

  def manifest_hash(self) -> str:
    """Of every window that is read."""
    digest = hashlib.sha256()
    for name, windows in self.genomes.items():
      digest.update('\n'.join((name, *windows.tracks)).encode())
      for split in ('train', 'validation'):
        for array in windows.windows(split):
          digest.update(array.tobytes())
    return digest.hexdigest()

  def train(
    self, *, process_id: int = 0, num_processes: int = 1
  ) -> EndlessBatches:
    """Endless batches of training windows: this process's rows of each."""
    genomes = [
      (name, number)
      for name, windows in self.genomes.items()
      for number in range(len(windows.windows('train')[0]))
    ]

    def read(epoch: Int[np.ndarray, 'b'], index: Int[np.ndarray, 'b']) -> Batch:
      rows = []
      for pair in zip(epoch.tolist(), index.tolist(), strict=True):
        is_drawn = np.random.default_rng([self.seed, *pair]).random() < 0.5
        name, number = genomes[pair[1]]
        row = self._row(name, 'train', number, is_drawn and self.both_strands)
        rows.append(row)
      return _stack(rows)

    return EndlessBatches(
      read,
      len(genomes),
      self.batch_size,
      local_rows(self.batch_size, process_id, num_processes),
      self.seed,
    )

  def evaluation(
    self,
    split: str = 'validation',
    *,
    max_rows: int | None = None,
    process_id: int = 0,
    num_processes: int = 1,
    is_reverse: bool = False,
  ) -> list[tuple[str, list[Batch]]]:
    """Of each genome the windows of a split in order, at most `max_rows`.

    The last batch is filled up with windows of weight 0. All are read on the
    other strand if `is_reverse`.
    """
    rows = local_rows(self.batch_size, process_id, num_processes)
    found = []
    for name, windows in self.genomes.items():
      number = len(windows.windows(split)[0])
      number = number if max_rows is None else min(max_rows, number)
      batches = [
        _stack(
          [
            self._row(name, split, min(at, number - 1), is_reverse, at < number)
            for at in range(first + rows.start, first + rows.stop)
          ]
        )
        for first in range(0, number, self.batch_size)
      ]
      found.append((name, batches))
    return found

  def _row(
    self,
    name: str,
    split: str,
    number: int,
    is_reverse: bool = False,
    weight: bool = True,
  ) -> Batch:
    """A batch of one window.

    Returns:
      sequence, segment_ids and positions [1, N]; target [1, M, T], 0 for other
      genomes; share [1, T] of each track, by which assays count alike, 0 for
      other genomes; mean and deviation [1, T] of log(1 + coverage), 1 for other
      genomes; weight [1, 1].
    """
    windows, place = self.genomes[name], self.tracks[name]
    batch = windows.batch(split, np.array([number]), np.array([is_reverse]))
    around = place.start, self.num_tracks - place.stop
    mean, deviation = (
      np.pad(values, around, constant_values=1).astype(np.float32)[None]
      for values in windows.scale
    )
    _, assay, number = np.unique(
      windows.assay_of, return_inverse=True, return_counts=True
    )
    share = 1 / (number[assay] * number.size)
    return {
      **batch,
      'target': np.pad(batch['target'], ((0, 0), (0, 0), around)),
      'share': np.pad(share, around).astype(np.float32)[None],
      'mean': mean,
      'deviation': deviation,
      'weight': np.full((1, 1), weight, np.float32),
    }


def _stack(rows: list[Batch]) -> Batch:
  return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
