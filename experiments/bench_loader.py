"""Bases per second of our pipeline beside a torch DataLoader, same genome.

  python -m experiments.bench_loader --fasta=F.fna --shards=DIR

Both make batches of whole genome windows, with the same arrays, a random phase
and a random strand. The torch side reads an indexed FASTA, once through pyfaidx
(what most projects do) and once through a memory map with a translation table
(the fastest that we could write). One process each; `workers` are beside it.
"""

import argparse
import contextlib
import gzip
import itertools
import mmap
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.pipeline import Shards
from data_pipelines.records import BASES, NO_RESIDUE, PHASE_NONE

_CODES = bytes(
  BASES.index(chr(c).upper()) if chr(c).upper() in BASES else BASES.index('N')
  for c in range(256)
)
_COMPLEMENT = np.array([3, 2, 1, 0, 4], np.uint8)


class MappedFasta:
  """Codes of any part of a FASTA file with lines of equal length."""

  def __init__(self, path: Path):
    self._path = path
    self._map: mmap.mmap | None = None
    self.contigs = list(self._index())

  def __getstate__(self) -> dict[str, Any]:
    return {**self.__dict__, '_map': None}

  def _index(self) -> Iterator[tuple[int, int, int]]:
    """(first byte, bases, bases in a line) of every contig, as faidx has it."""
    text = self._open()
    end = text.find(b'>')
    while end < len(text):
      first = text.find(b'\n', end) + 1
      end = text.find(b'>', first) % (len(text) + 1)
      lines = text[first:end].split()
      yield first, sum(map(len, lines)), len(lines[0])

  def _open(self) -> mmap.mmap:
    if self._map is None:
      with open(self._path, 'rb') as file:
        self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return self._map

  def codes(self, contig: int, start: int, end: int) -> np.ndarray:
    first, _, line = self.contigs[contig]
    raw = self._open()[
      first + start + start // line : first + end + end // line
    ]
    return np.frombuffer(raw.translate(_CODES, b'\n\r'), np.uint8)


class PyfaidxFasta(MappedFasta):
  """The same, read by pyfaidx."""

  _fasta: Any = None

  def __getstate__(self) -> dict[str, Any]:
    return {**super().__getstate__(), '_fasta': None}

  def codes(self, contig: int, start: int, end: int) -> np.ndarray:
    if self._fasta is None:
      import pyfaidx

      self._fasta = pyfaidx.Fasta(str(self._path), as_raw=True)
      self._names = list(self._fasta.keys())
    text = self._fasta[self._names[contig]][start:end]
    return np.frombuffer(text.encode().translate(_CODES), np.uint8)


class Windows:
  """A map-style torch data set: every window of a genome, as one row."""

  def __init__(self, fasta: MappedFasta, row_length: int):
    self._fasta = fasta
    self._row_length = row_length
    self._places = [
      (contig, start)
      for contig, (_, length, _) in enumerate(fasta.contigs)
      for start in range(0, length - row_length + 1, row_length)
    ]
    self._ramp = np.arange(row_length, dtype=np.int32)

  def __len__(self) -> int:
    return len(self._places)

  def __getitem__(self, index: int) -> dict[str, Any]:
    import torch

    contig, start = self._places[index]
    draws = np.random.randint(0, 6)
    codes = self._fasta.codes(
      contig, start + draws % 3, start + self._row_length
    )
    length = len(codes) // 3 * 3
    codes = codes[:length]
    if draws >= 3:
      codes = _COMPLEMENT.take(codes[::-1])
    row = _empty_row(self._row_length)
    row['sequence'][:length] = codes
    row['segment_ids'][:length] = 1
    row['positions'][:length] = self._ramp[:length]
    row['genetic_code'][:length] = 11
    return {name: torch.from_numpy(array) for name, array in row.items()}


def _empty_row(row_length: int) -> dict[str, np.ndarray]:
  return {
    'sequence': np.full(row_length, 5, np.uint8),
    'segment_ids': np.zeros(row_length, np.int32),
    'positions': np.zeros(row_length, np.int32),
    'kind': np.zeros(row_length, np.uint8),
    'codon_phase': np.full(row_length, PHASE_NONE, np.uint8),
    'amino_acid': np.full(row_length, NO_RESIDUE, np.uint8),
    'genetic_code': np.zeros(row_length, np.uint8),
    'soft_mask': np.zeros(row_length, bool),
    'codon_is_sampled': np.zeros(row_length, bool),
  }


def torch_batches(
  fasta: MappedFasta, row_length: int, batch_size: int, num_workers: int
) -> Iterator[dict[str, Any]]:
  """Endless shuffled batches of a torch DataLoader."""
  import torch

  loader = torch.utils.data.DataLoader(
    Windows(fasta, row_length),
    batch_size=batch_size,
    shuffle=True,
    drop_last=True,
    num_workers=num_workers,
    persistent_workers=num_workers > 0,
  )
  while True:
    yield from loader


def our_batches(
  shards: Path,
  row_length: int,
  batch_size: int,
  num_workers: int,
  *,
  cache_bases: int,
) -> Iterator[dict[str, Any]]:
  """Endless batches of our pipeline, genome records only."""
  return Shards(
    path=shards,
    row_length=row_length,
    batch_size=batch_size,
    weights={'genome': 1.0},
    num_workers=num_workers,
    num_threads=0,
    prefetch=2 if num_workers else 0,
    cache_bases=cache_bases,
  ).train()


def measure(
  fasta: Path,
  shards: Path,
  *,
  row_length: int = 6144,
  batch_size: int = 16,
  num_batches: int = 60,
  repeats: int = 3,
  workers: Iterable[int] = (0, 1),
) -> list[dict[str, Any]]:
  """Rows of (loader, workers, bases_per_second): the best of `repeats`.

  The loaders take turns, so that another load on the machine meets them all;
  each is warmed up with one pass over the genome.
  """
  rows = []
  for num_workers in workers:
    streams = _streams(fasta, shards, row_length, batch_size, num_workers)
    warm_up = len(Windows(MappedFasta(fasta), row_length)) // batch_size
    for stream in streams.values():
      _rate(stream, warm_up)
    rates = dict.fromkeys(streams, 0.0)
    for _, (name, stream) in itertools.product(range(repeats), streams.items()):
      rates[name] = max(rates[name], _rate(stream, num_batches))
    rows += [
      {'loader': name, 'workers': num_workers, 'bases_per_second': rate}
      for name, rate in rates.items()
    ]
    for stream in streams.values():
      stream.close()
  return rows


def _streams(
  fasta: Path, shards: Path, *options: int
) -> dict[str, Iterator[dict[str, Any]]]:
  streams = {
    'ours': our_batches(shards, *options, cache_bases=100_000_000),
    'ours, nothing cached': our_batches(shards, *options, cache_bases=0),
    'torch, memory map': torch_batches(MappedFasta(fasta), *options),
  }
  try:
    import pyfaidx  # noqa: F401
  except ImportError:
    return streams
  return streams | {
    'torch, pyfaidx': torch_batches(PyfaidxFasta(fasta), *options)
  }


def _rate(stream: Iterator[dict[str, Any]], num_batches: int) -> float:
  start = time.perf_counter()
  shapes = [next(stream)['sequence'].shape for _ in range(num_batches)]
  return sum(map(np.prod, shapes)) / (time.perf_counter() - start)


def format_table(rows: Iterable[dict[str, Any]]) -> str:
  lines = [f'{"loader":24}{"workers":>8}{"M bases/s":>12}']
  for row in rows:
    rate = row['bases_per_second'] / 1e6
    lines.append(f'{row["loader"]:24}{row["workers"]:8}{rate:12.1f}')
  return '\n'.join(lines)


def main() -> None:
  """Prints the table for one FASTA file and the shards built from it."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--fasta', type=Path, required=True)
  parser.add_argument('--shards', type=Path, required=True)
  options = parser.parse_args()
  with plain_text(options.fasta) as fasta:
    print(format_table(measure(fasta, options.shards)))


@contextlib.contextmanager
def plain_text(fasta: Path) -> Iterator[Path]:
  """The file itself, or a temporary copy of it without its compression."""
  if fasta.suffix != '.gz':
    yield fasta
    return
  with tempfile.TemporaryDirectory() as folder:
    plain = Path(folder) / fasta.stem
    with gzip.open(fasta, 'rb') as source, open(plain, 'wb') as target:
      shutil.copyfileobj(source, target)
    yield plain


if __name__ == '__main__':
  main()
