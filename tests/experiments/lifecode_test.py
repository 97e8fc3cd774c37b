"""The experiment files of Life-Code, run as users run them, small."""

import json
import os
import pathlib
import subprocess
import sys
import types

import jax
import numpy as np
import pytest

from backbone.downstream.probe_table import ProbeTable
from data_pipelines import organism
from data_pipelines.tasks.organism import OrganismTasks
from lifecode.model import LifeCode
from tests.lifecode.batches import TINY

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMALL = organism.OrganismConfig(
  train_chromosomes=(60_000,),
  validation_chromosomes=(30_000,),
  test_chromosomes=(30_000,),
  num_families=20,
  num_proteins=9,
)


@pytest.fixture(scope='module')
def smoke(tmp_path_factory):
  """The `:smoke` run on a small organism: its output and directory."""
  folder = tmp_path_factory.mktemp('smoke')
  organism.build(folder / 'data', SMALL)
  done = subprocess.run(
    [
      sys.executable,
      '-m',
      'experiments.run',
      '--config=experiments/lifecode/pretrain.py:smoke',
      f'--config.data.path={folder / "data"}',
      f'--workdir={folder / "work"}',
    ],
    cwd=ROOT,
    env={**os.environ, 'XLA_FLAGS': '--xla_backend_optimization_level=0'},
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert done.returncode == 0, done.stderr
  return done, folder / 'work'


def test_masked_bits_stand_beside_their_floors(smoke):
  rows = json.loads((smoke[1] / 'results.json').read_text())
  genome = {r['column']: r for r in rows if r['task'] == 'organism/genome'}
  assert set(genome) == {
    'pretrained',
    'random_weights',
    'uniform',
    *(f'markov_{k}{own}' for k in (2, 5) for own in ('', '_own')),
  }
  assert genome['uniform']['value'] == 2.0
  # One data set: all training data is its own.
  assert genome['markov_2']['value'] == genome['markov_2_own']['value']
  assert 1.5 < genome['markov_2']['value'] < 2.0
  for row in genome.values():
    assert row['low'] <= row['value'] <= row['high']


def test_the_last_line_is_the_summary(smoke):
  summary = json.loads(smoke[0].stdout.splitlines()[-1])
  assert summary['step'] == 12 and len(summary['parameters_sha256']) == 64


def test_probes_stand_beside_random_weights_and_kmers():
  model = LifeCode(TINY, key=jax.random.key(0))
  table = ProbeTable(
    encode='lifecode.model:encode',
    tasks=OrganismTasks(
      organism=SMALL,
      train=40,
      validation=20,
      test=30,
      names=('coding_vs_noncoding',),
    ),
  )
  context = types.SimpleNamespace(model=model, random_model=model, seed=0)
  rows = table.rows(context)
  scores = {row['column']: row['value'] for row in rows}
  assert set(scores) == {'pretrained', 'random_weights', 'kmer'}
  # The same weights under both names must score the same.
  assert scores['pretrained'] == scores['random_weights']
  assert np.isfinite(list(scores.values())).all()
