"""Contigs on disk, for genomes that are larger than memory."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import tqdm

from data_pipelines.readers.fasta import Contig

_BASES, _MASK, _LENGTHS = 'bases.uint8', 'soft_mask.bool', 'lengths.json'


class ContigFiles(Mapping[str, Contig]):
  """Contigs of a folder, in the order in which they were written.

  Each look-up maps the files anew, so that what was read leaves memory with
  the contig.
  """

  def __init__(self, folder: Path):
    self.folder = Path(folder)
    self.lengths: dict[str, int] = json.loads(
      (self.folder / _LENGTHS).read_text()
    )
    starts = np.cumsum([0, *self.lengths.values()]).tolist()
    self._starts = dict(zip(self.lengths, starts, strict=False))

  def __getitem__(self, name: str) -> Contig:
    length, start = self.lengths[name], self._starts[name]
    bases, mask = (
      np.memmap(self.folder / file, dtype, 'r', start, (length,))
      for file, dtype in ((_BASES, np.uint8), (_MASK, np.bool_))
    )
    return Contig(name, bases, mask)

  def __iter__(self) -> Iterator[str]:
    return iter(self.lengths)

  def __len__(self) -> int:
    return len(self.lengths)


def write(contigs: Iterable[Contig], folder: Path) -> ContigFiles:
  """Writes contigs one at a time; what is there counts as whole."""
  folder = Path(folder)
  if not (folder / _LENGTHS).exists():
    folder.mkdir(parents=True, exist_ok=True)
    lengths = {}
    with (
      open(folder / _BASES, 'wb') as bases,
      open(folder / _MASK, 'wb') as mask,
    ):
      for contig in tqdm.tqdm(contigs, 'contigs', leave=False, unit=''):
        contig.sequence.tofile(bases)
        contig.soft_mask.tofile(mask)
        lengths[contig.name] = len(contig.sequence)
    # Last, and in one step: it says that the others are whole.
    unfinished = folder / f'{_LENGTHS}.unfinished'
    unfinished.write_text(json.dumps(lengths))
    unfinished.rename(folder / _LENGTHS)
  return ContigFiles(folder)
