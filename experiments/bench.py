"""Benchmarks: `python -m experiments.bench train`.

  train   tokens/s of our encoders beside a torch one, by length; bases/s of
          the loader beside torch, on a simulated genome or that of --fasta and
          --shards
  vocabulary
          steps/s of VQDNA's stage 1 at the size --tier beside torch with
          vector-quantize-pytorch
  enformer
          seconds and memory of Enformer at 196,608 bases beside the torch port
  step    a training step of a hybrid of 130 M beside its all-softmax control,
          by length, compiler-estimated for the chips of --topology
  build   bases/s and memory of a build of --bases simulated bases, in one
          process and by Apache Beam (--runners) with --workers

Prints tables; with --json also the rows, one JSON object a line. The torch
columns need the extra `parity`, topologies the extra `tpu`, Beam the extra
`beam`.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import sys
import tempfile
from typing import Any

from backbone import memory
from data_pipelines import organism
from experiments import (
  bench_build,
  bench_enformer,
  bench_loader,
  bench_step,
  bench_train,
  bench_vocabulary,
)


def main(argv: list[str]) -> int:
  """Runs a benchmark and prints its tables; returns the exit code."""
  options = _parse(argv)
  if options.benchmark == 'train':
    rows = bench_train.measure(num_rounds=options.rounds)
    print(bench_train.format_table(rows), flush=True)
    loader_rows = _measure_loader(options.fasta, options.shards)
    print('\n' + bench_loader.format_table(loader_rows), flush=True)
    rows += loader_rows
  elif options.benchmark == 'vocabulary':
    rows = bench_vocabulary.measure(options.tier, options.rounds)
    print(bench_vocabulary.format_table(rows), flush=True)
  elif options.benchmark == 'enformer':
    rows = bench_enformer.measure(options.rounds)
    print(bench_enformer.format_table(rows), flush=True)
  elif options.benchmark == 'build':
    rows = _measure_build(options)
    print(bench_build.format_table(rows), flush=True)
  else:
    rows = bench_step.measure(options.topology, options.lengths)
    print(bench_step.format_table(rows), flush=True)
  if options.json:
    print('\n'.join(json.dumps(row) for row in rows))
  return 0


def _parse(argv: list[str]) -> argparse.Namespace:
  parser = argparse.ArgumentParser(prog='python -m experiments.bench')
  benchmarks = ['train', 'vocabulary', 'enformer', 'step', 'build']
  parser.add_argument('benchmark', choices=benchmarks)
  parser.add_argument('--fasta', type=pathlib.Path, help='of the loader table')
  parser.add_argument('--shards', type=pathlib.Path, help='built from --fasta')
  parser.add_argument('--rounds', type=int, default=5)
  parser.add_argument('--tier', default='cpu', choices=['smoke', 'cpu'])
  parser.add_argument('--topology', help='as v5p:2x2x1')
  parser.add_argument(
    '--lengths',
    type=lambda text: tuple(int(n) for n in text.split(',')),
    default=bench_step.LENGTHS,
    help='tokens of a row, as 2048,4096',
  )
  parser.add_argument('--bases', type=int, default=20_000_000)
  parser.add_argument('--workers', type=int, default=2)
  parser.add_argument(
    '--runners',
    nargs='+',
    choices=bench_build.RUNNERS,
    default=['here', 'beam'],
  )
  parser.add_argument('--out', type=pathlib.Path, help='folder of the build')
  parser.add_argument('--json', action='store_true')
  options = parser.parse_args(argv)
  if (options.fasta is None) != (options.shards is None):
    parser.error('--fasta and --shards belong together')
  if options.benchmark == 'step' and options.topology is None:
    parser.error('step needs --topology')
  return options


def _measure_build(options: argparse.Namespace) -> list[dict[str, Any]]:
  with tempfile.TemporaryDirectory() as folder:
    return bench_build.measure(
      options.bases,
      options.workers,
      tuple(options.runners),
      options.out or pathlib.Path(folder),
    )


def _measure_loader(
  fasta: pathlib.Path | None, shards: pathlib.Path | None
) -> list[dict]:
  if importlib.util.find_spec('torch') is None:
    return []
  if fasta:
    with bench_loader.plain_text(fasta) as plain:
      return bench_loader.measure(plain, shards)
  config = organism.OrganismConfig()
  genome = organism.simulate(config)
  with tempfile.TemporaryDirectory() as folder:
    fasta = pathlib.Path(folder) / 'organism.fa'
    fasta.write_text(genome.fasta())
    shards = organism.build(pathlib.Path(folder), config, genome)
    return bench_loader.measure(fasta, shards)


if __name__ == '__main__':
  if '--topology' in ' '.join(sys.argv):
    os.environ['JAX_PLATFORMS'] = 'cpu'
  memory.keep_memory()
  sys.exit(main(sys.argv[1:]))
