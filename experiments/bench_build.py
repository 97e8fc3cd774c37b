"""Bases/s and memory of a build: in one process, and by Apache Beam."""

import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import tqdm

_LINE = 80
_CONTIG = 250_000_000
# Repeats and gaps, so that masks and windows of N are there.
_BLOCK, _MASKED, _GAP = 5_000, 0.4, 0.01
RUNNERS = ('here', 'beam')


def measure(
  num_bases: int, workers: int, runners: tuple[str, ...], folder: pathlib.Path
) -> list[dict[str, Any]]:
  """Builds a simulated genome once by each runner.

  Args:
    num_bases: Of the genome, about.
    workers: Of Beam, processes of this machine.
    runners: Some of `RUNNERS`.
    folder: That holds the genome and what is built of it.

  Returns:
    A row a runner: runner, bases, seconds, megabases_per_second,
    peak_gigabytes of the largest process, checksum of all shards.
  """
  fasta = folder / f'genome-{num_bases}.fa'
  _simulate(fasta, num_bases)
  extra = {
    'here': (),
    'beam': (
      '--runner=DirectRunner',
      f'--beam_option=--direct_num_workers={workers}',
      '--beam_option=--direct_running_mode=multi_processing',
    ),
  }
  rows = []
  for runner in runners:
    out = folder / runner
    if out.exists():
      sys.exit(f'error: {out} is there already; what is built anew is measured')
    summary = _build(fasta, out, extra[runner])
    manifest = json.loads((out / 'genome' / '1.0.0/manifest.json').read_text())
    shards = [
      shard['sha256']
      for split in manifest['splits'].values()
      for shard in split['shards']
    ]
    rows.append(
      {
        'runner': runner,
        'bases': summary['bases'],
        'seconds': summary['seconds'],
        'megabases_per_second': summary['bases_per_second'] / 1e6,
        'peak_gigabytes': summary['peak_gigabytes'],
        'shards': len(shards),
        'checksum': ' '.join(shards),
      }
    )
  return rows


def format_table(rows: list[dict[str, Any]]) -> str:
  """The rows, and whether all shards are the same."""
  lines = ['runner      bases  seconds   Mb/s  peak GB  shards']
  for row in rows:
    lines.append(
      f'{row["runner"]:6} {row["bases"]:>11,} {row["seconds"]:>7,.0f}  '
      f'{row["megabases_per_second"]:5.1f}  {row["peak_gigabytes"]:7.2f}  '
      f'{row["shards"]:6}'
    )
  if len(rows) > 1:
    is_same = len({row['checksum'] for row in rows}) == 1
    lines.append(f'identical shards: {"yes" if is_same else "NO"}')
  return '\n'.join(lines)


def _build(
  fasta: pathlib.Path, out: pathlib.Path, extra: tuple[str, ...]
) -> dict[str, Any]:
  command = [sys.executable, '-m', 'data_pipelines.build', 'omics']
  command += [f'--fasta={fasta}', f'--out={out}', '--name=genome', *extra]
  done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
  if done.returncode:
    sys.exit(done.returncode)
  return json.loads(done.stdout.splitlines()[-1])


def _simulate(path: pathlib.Path, num_bases: int) -> None:
  """FASTA of random letters, unless it is there."""
  if path.exists():
    return
  path.parent.mkdir(parents=True, exist_ok=True)
  unfinished = path.with_suffix('.unfinished')
  with (
    open(unfinished, 'wb') as file,
    tqdm.tqdm(total=num_bases, desc='genome', unit='b', leave=False) as bar,
  ):
    for number, start in enumerate(range(0, num_bases, _CONTIG)):
      file.write(f'>contig{number + 1}\n'.encode())
      size = min(_CONTIG, num_bases - start)
      for lines in _lines(size, np.random.default_rng(number)):
        file.write(lines)
        bar.update(len(lines))
  unfinished.rename(path)


def _lines(num_bases: int, rng: np.random.Generator) -> Iterator[bytes]:
  """Blocks of whole lines; the last is cut at so many bases."""
  at_once = 1_000 * _BLOCK
  for start in range(0, num_bases, at_once):
    letters = np.frombuffer(b'ACGT', np.uint8)[
      rng.integers(0, 4, at_once, dtype=np.uint8)
    ].reshape(-1, _BLOCK)
    kind = rng.random(len(letters))
    letters[kind < _MASKED] |= 32
    letters[kind > 1 - _GAP] = ord('N')
    letters = letters.reshape(-1)[: num_bases - start]
    whole = letters[: len(letters) // _LINE * _LINE].reshape(-1, _LINE)
    yield np.pad(whole, ((0, 0), (0, 1)), constant_values=10).tobytes()
    if rest := letters[whole.size :].tobytes():
      yield rest + b'\n'
