"""The experiment files of VQDNA, run as users run them, small."""

import json

import pytest

from data_pipelines import organism
from experiments import command_line, common, planned
from tests.experiments.commands import ORGANISM, ROOT, run

# What is run here.
SMOKED = {'tokenizer', 'pretrain'}
ARMS = ('vq', 'fsq', 'no_revival', 'uniform', 'rotation', 'stride3', 'masked')


@pytest.fixture(scope='module')
def data(tmp_path_factory):
  """The shards of a small organism."""
  return organism.build(tmp_path_factory.mktemp('data'), ORGANISM).parent


@pytest.fixture(scope='module')
def tokenizer(data, tmp_path_factory):
  """The workdir of a stage 1 run."""
  work = tmp_path_factory.mktemp('tokenizer')
  run('vqdna/tokenizer.py:smoke,masked', work, **{'data.path': data})
  return work


def test_every_experiment_has_a_smoke_run():
  folder = ROOT / 'experiments' / 'vqdna'
  assert {path.stem for path in folder.glob('[a-z]*.py')} == SMOKED


@pytest.mark.parametrize(
  'file, arg',
  [
    ('tokenizer', 'cpu'),
    ('tokenizer', '16m'),
    *(('tokenizer', f'cpu,{arm}') for arm in ARMS),
    ('pretrain', 'cpu'),
    ('pretrain', '103m,faithful'),
    ('pretrain', '103m,hybrid'),
  ],
)
def test_every_arm_can_be_built(file, arg):
  path = ROOT / 'experiments' / 'vqdna' / f'{file}.py'
  config = {
    **command_line.DEFAULTS,
    **command_line.load_config(str(path), arg).to_dict(),
  }
  command_line.validate(config)
  common.build(config['optimizer'], 'config.optimizer')
  objective = dict(config['objective'])
  if file == 'pretrain':
    objective['tokens'] = planned.UntrainedVocabulary('smoke')
  common.build(objective, 'config.objective')


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
