"""The experiment files of VQDNA, run as users run them, small."""

import json

import pytest

from data_pipelines import organism
from tests.experiments.commands import ORGANISM, ROOT, run

# What is run here.
SMOKED = {'tokenizer', 'pretrain'}


@pytest.fixture(scope='module')
def data(tmp_path_factory):
  """The shards of a small organism."""
  return organism.build(tmp_path_factory.mktemp('data'), ORGANISM).parent


@pytest.fixture(scope='module')
def tokenizer(data, tmp_path_factory):
  """The workdir of a stage 1 run."""
  work = tmp_path_factory.mktemp('tokenizer')
  run('vqdna/tokenizer.py:smoke', work, **{'data.path': data})
  return work


def test_every_experiment_has_a_smoke_run():
  folder = ROOT / 'experiments' / 'vqdna'
  assert {path.stem for path in folder.glob('[a-z]*.py')} == SMOKED


def test_stage_1_tabulates_the_health_of_both_levels(tokenizer):
  rows = json.loads((tokenizer / 'results.json').read_text())
  found = {(row['task'], row['metric'], row['column']) for row in rows}
  for column in ('trained', 'random_encoder'):
    assert ('reconstruction', 'accuracy', column) in found
    for level in ('level1', 'level2'):
      for metric in ('usage', 'perplexity', 'evenness', 'base_bits'):
        assert (level, metric, column) in found
  report = (tokenizer / 'report.html').read_text()
  assert 'alt="logos 2"' in report


def test_stage_2_reads_what_stage_1_left(tokenizer, data, tmp_path):
  overrides = {
    'data.path': data,
    'objective.tokens.path': tokenizer / 'vocabulary',
  }
  run('vqdna/pretrain.py:smoke', tmp_path, **overrides)
  assert (tmp_path / 'report.html').exists()
