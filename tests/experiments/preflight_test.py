"""Plans for pods that are not here."""

import importlib.util
import json
import subprocess
import sys

import pytest

from experiments import preflight
from tests.experiments.commands import ROOT

LIFECODE = f'--config={ROOT}/experiments/lifecode/pretrain.py'


def call(capsys, *arguments):
  code = preflight.main(['preflight', *arguments])
  said = capsys.readouterr()
  return code, said.out, said.err


def compiled(*arguments):
  """By a process of its own: the compiler reads its flags once in each."""
  done = subprocess.run(
    [sys.executable, '-m', 'experiments.preflight', *arguments],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=1_800,
  )
  assert done.returncode == 0, done.stderr
  return done.stdout


needs_compiler = pytest.mark.skipif(
  importlib.util.find_spec('libtpu') is None,
  reason="libtpu is missing: pip install -e '.[tpu]'",
)


def test_gpus_are_planned_by_formula(capsys):
  arguments = f'{LIFECODE}:350m', '--topology=h100:8x8', '--json'
  code, out, _ = call(capsys, *arguments)
  (plan,) = json.loads(out)
  assert code == 0
  assert plan['mesh'] == {'data': 64, 'seq': 1, 'model': 1}
  assert plan['tokens'] == 256 * 2_048
  assert plan['parameter_bytes'] == 4 * plan['parameters']
  # Two moments and a count.
  assert plan['optimizer_bytes'] - 2 * plan['parameter_bytes'] < 100
  # Six for each parameter and token, and attention beside.
  ratio = plan['operations'] / (6 * plan['parameters'] * plan['tokens'])
  assert 1 < ratio < 1.2
  assert 'by formula' in plan['method']


def test_parameters_are_split_over_data_by_config(capsys):
  arguments = f'{LIFECODE}:350m', '--topology=h100:8x8', '--json'
  _, out, _ = call(capsys, *arguments)
  split = '--config.sharding.split_parameters=True'
  _, other, _ = call(capsys, *arguments, split)
  (whole,), (split,) = json.loads(out), json.loads(other)
  # Nearly all of them have an axis of the model's width.
  assert split['parameter_bytes'] < whole['parameter_bytes'] / 20


@needs_compiler
def test_a_step_is_compiled_for_a_pod():
  arguments = f'{LIFECODE}:smoke', '--topology=v5e:2x2'
  rows = '--config.data.batch_size=8'
  out = compiled(*arguments, rows, '--mesh=data:2,model:2')
  assert '4 chips (data 2, seq 1, model 2), 1 micro-batch\n' in out
  for text in (
    ' M parameters trained; a batch of 8 rows, 512 tokens',
    'of 17.2 GB: fits',
    'compiler-estimated',
    'a chip receives, a step: all-',
    '12 steps: ',
    'each of 1 hosts must read ',
  ):
    assert text in out, text


@needs_compiler
@pytest.mark.parametrize(
  ('config', 'topology', 'rows', 'at_most'),
  [
    ('vqdna/pretrain.py:103m', 'v5e:16x16', 2_048, 5e9),
    ('gta/human.py:llama3_8b', 'v5p:4x4x8', 256, 30e9),
  ],
)
def test_large_experiments_fit(config, topology, rows, at_most):
  out = compiled(
    f'--config=experiments/{config}',
    f'--topology={topology}',
    f'--config.data.batch_size={rows}',
    '--json',
  )
  (plan,) = json.loads(out)
  parts = ('parameter', 'optimizer', 'frozen', 'activation')
  held = sum(plan[f'{part}_bytes'] for part in parts)
  assert plan['micro_batches'] == 1 and plan['rows'] == rows
  assert 1e9 < held < at_most < plan['capacity_bytes']
  assert plan['seconds'] > 0 and 0 < plan['utilisation'] < 1
  # Gradients of all parameters that are trained, in float32.
  gradients = 4 * plan['parameters']
  assert plan['moved_bytes']['all-reduce'] >= 0.4 * gradients


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ([], 'usage: python -m experiments.preflight'),
    (['--topology=v9:2x2'], "no clock known for 'v9': choose from"),
    (['--topology=h100:1x2', '--mesh=data:x'], 'give it as data:64'),
    (['--topology=h100:1x2', '--mesh=data:3'], 'is not that of 2 chips'),
    (['--topology=h100:1x4'], '2 rows of 192 cannot be split over a mesh'),
    (['--topology=h100:1x2', '--config.data.rows=1'], 'data.rows: unknown key'),
  ],
)
def test_mistakes_are_one_line(capsys, arguments, message):
  code, out, err = call(capsys, f'{LIFECODE}:smoke', *arguments)
  assert (code, out) == (2, '')
  assert err.count('\n') == 1 and message in err, err


def test_data_of_unknown_batches_are_named(capsys):
  file = f'--config={ROOT}/experiments/gta/tracks.py:smoke'
  code, _, err = call(capsys, file, '--topology=h100:1x1')
  assert code == 2
  assert 'the batches of data_pipelines.tracks.species:Species are not' in err
