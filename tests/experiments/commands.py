"""Experiments run as users run them."""

import os
import pathlib
import subprocess
import sys

from data_pipelines import organism

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Small, with something of every kind in every split.
ORGANISM = organism.OrganismConfig(
  train_chromosomes=(60_000,),
  validation_chromosomes=(30_000,),
  test_chromosomes=(30_000,),
  num_families=20,
  num_proteins=9,
)


def run(config, workdir, **overrides):
  """A run of its own process that must end well."""
  done = subprocess.run(
    [
      sys.executable,
      '-m',
      'experiments.run',
      f'--config=experiments/{config}',
      f'--workdir={workdir}',
      *(f'--config.{key}={value}' for key, value in overrides.items()),
    ],
    cwd=ROOT,
    env={**os.environ, 'XLA_FLAGS': '--xla_backend_optimization_level=0'},
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert done.returncode == 0, done.stderr
  return done
