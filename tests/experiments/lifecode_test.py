"""The experiment files of Life-Code, run as users run them, small."""

import json
import types

import jax
import numpy as np
import pytest
from flax import nnx

from backbone.downstream.probe_table import ProbeTable
from data_pipelines import organism
from data_pipelines.tasks.organism import OrganismTasks
from lifecode.model import LifeCode
from lifecode.teacher import cache, weights
from lifecode.teacher.esm2 import ESM2, ESM2Config
from tests.experiments.commands import ORGANISM, ROOT, run
from tests.lifecode.batches import TINY

# What is run here, and elsewhere.
SMOKED = {'pretrain', 'quickstart', 'protein_lm'}


@pytest.fixture(scope='module')
def data(tmp_path_factory):
  """The shards of a small organism."""
  return organism.build(tmp_path_factory.mktemp('data'), ORGANISM).parent


@pytest.fixture(scope='module')
def smoke(data, tmp_path_factory):
  """The `:smoke` run: its output and directory."""
  work = tmp_path_factory.mktemp('smoke')
  return run('lifecode/pretrain.py:smoke', work, **{'data.path': data}), work


def test_every_experiment_has_a_smoke_run():
  folder = ROOT / 'experiments' / 'lifecode'
  assert {path.stem for path in folder.glob('[a-z]*.py')} == SMOKED


def test_quickstart_tabulates_probes_and_residues(tmp_path):
  run('lifecode/quickstart.py:smoke', tmp_path)
  rows = json.loads((tmp_path / 'results.json').read_text())
  tasks = {row['task'] for row in rows}
  assert {'codon_phase', 'splice_donor', 'organism/cds'} <= tasks
  residues = {
    row['column']: row['value']
    for row in rows
    if row['metric'] == 'bits_per_residue'
  }
  # Twenty residues and the stop, none of them equally frequent.
  assert 3.5 < residues['codon_usage_prior'] < np.log2(21)
  assert residues['random_weights'] > residues['codon_usage_prior']


def test_distillation_reads_the_cache(data, tmp_path):
  teacher = ESM2(
    ESM2Config(num_layers=1, width=8, num_heads=2), key=jax.random.key(0)
  )
  params = nnx.to_pure_dict(nnx.state(teacher, nnx.Param))
  weights.save(params, tmp_path / 'weights', is_stand_in=True)
  features = tmp_path / 'features'
  arguments = f'--data={data}', f'--weights={tmp_path / "weights"}'
  assert cache.main(['cache', *arguments, f'--out={features}']) == 0
  paths = {
    'data.path': data,
    'data.features': features,
    'objective.teacher.path': features,
  }
  run('lifecode/pretrain.py:smoke,distil', tmp_path / 'work', **paths)
  lines = (tmp_path / 'work' / 'metrics.jsonl').read_text().splitlines()
  cosines = [json.loads(line).get('Distillation/cosine') for line in lines]
  assert any(cosine is not None for cosine in cosines)


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
      organism=ORGANISM,
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
