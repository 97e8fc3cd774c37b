"""The entry point: one command, its exit codes, its one-line complaints."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from backbone.train.metrics import TIMINGS
from experiments import run as run_lib

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = """
  import ml_collections
  from experiments import common

  def get_config(arg=None):
    arg = common.choose(arg, ('smoke',))
    config = ml_collections.ConfigDict()
    config.seed = 0
    config.objective = {'name': 'tests.backbone.train.toy:Toy', 'width': 8}
    config.data = {'name': 'tests.backbone.train.toy:ToyData', 'path': '',
                   'batch_size': 8}
    config.optimizer = {'name': 'backbone.train.optim:AdamW',
                        'learning_rate': 0.02, 'warmup_steps': 5}
    config.train = {'steps': 12 if arg else 1500, 'log_every': 3,
                    'evaluate_every': 500, 'evaluate_rows': 16,
                    'checkpoint_every': 4 if arg else 300}
    config.tables = [{'name': 'tests.backbone.train.toy:ToyTable',
                      'split': 'test'}]
    return config
"""


@pytest.fixture(scope='module')
def config(tmp_path_factory):
  """An experiment file."""
  path = tmp_path_factory.mktemp('config') / 'toy.py'
  path.write_text(textwrap.dedent(CONFIG))
  return path


def command(*args):
  return [sys.executable, '-m', 'experiments.run', *map(str, args)]


def environment():
  return os.environ | {'XLA_FLAGS': '', 'PYTHONPATH': str(ROOT)}


def run(*args):
  return subprocess.run(
    command(*args),
    cwd=ROOT,
    env=environment(),
    capture_output=True,
    text=True,
    timeout=300,
  )


def last_json(done):
  return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope='module')
def finished(config, tmp_path_factory):
  """A whole run, and its directory."""
  workdir = tmp_path_factory.mktemp('run') / 'w'
  done = run(f'--config={config}:smoke', f'--workdir={workdir}')
  assert done.returncode == 0, done.stderr
  return done, workdir


def test_a_run_ends_with_its_results(finished):
  done, workdir = finished
  assert last_json(done).keys() == {
    'step',
    'loss',
    'tokens_per_second',
    'parameters_sha256',
    'workdir',
  }
  assert last_json(done)['step'] == 12
  assert 'pretrained' in done.stdout.splitlines()[0]
  rows = json.loads((workdir / 'results.json').read_text())
  assert [row['column'] for row in rows] == ['pretrained', 'random_weights']
  assert rows[0].keys() == {
    'table',
    'task',
    'split',
    'metric',
    'column',
    'seed',
    'value',
    'low',
    'high',
  }
  assert not list(workdir.glob('*.tmp'))


def test_the_report_needs_nothing_else(finished):
  page = (finished[1] / 'report.html').read_text()
  assert page.count('<svg') == 3
  for text in ('masked base', 'config.train.steps = 12', 'parameters sha256'):
    assert text in page
  assert '<script' not in page and 'src="http' not in page
  assert '<link' not in page and '@import' not in page


def test_a_finished_run_prints_its_results_again(finished, config):
  done, workdir = finished
  again = run(f'--config={config}:smoke', f'--workdir={workdir}')
  assert again.stdout == done.stdout


def test_what_the_file_does_not_name_may_be_set(config, tmp_path):
  flags = f'--config={config}:smoke', f'--workdir={tmp_path}'
  done = run(
    *flags,
    '--config.train.micro_batches=2',
    '--config.sharding.split_parameters=True',
    '--config.train.profile_at=10',
    f'--checkpoints={tmp_path / "elsewhere"}',
  )
  assert done.returncode == 0, done.stderr
  made = json.loads((tmp_path / 'finished.json').read_text())['config']
  assert made['train']['micro_batches'] == 2
  assert made['sharding'] == {'split_parameters': True}
  assert (tmp_path / 'elsewhere' / '12').is_dir()
  assert not (tmp_path / 'checkpoints').exists()
  (trace,) = (tmp_path / 'profile').rglob('*.xplane.pb')
  assert b'jit(step)' in trace.read_bytes()


def test_it_goes_on_after_kill_and_after_sigterm(config, tmp_path):
  whole, cut = tmp_path / 'whole', tmp_path / 'cut'
  flags = f'--config={config}'
  expected = last_json(run(flags, f'--workdir={whole}'))

  interrupt(flags, cut, signal.SIGKILL, after_step=300)
  assert not (cut / 'results.json').exists()
  code = interrupt(flags, cut, signal.SIGTERM, after_step=600)
  assert code == 75
  assert newest_checkpoint(cut) >= 600
  again = run(flags, f'--workdir={cut}')
  assert again.returncode == 0, again.stderr
  assert last_json(again)['parameters_sha256'] == expected['parameters_sha256']
  assert timeless(cut) == timeless(whole)


def interrupt(flags, workdir, signum, *, after_step):
  """Starts a run, signals it once past a step, returns its exit code."""
  started = subprocess.Popen(
    command(flags, f'--workdir={workdir}'),
    cwd=ROOT,
    env=environment(),
    stderr=subprocess.DEVNULL,
  )
  deadline = time.monotonic() + 120
  while newest_checkpoint(workdir) < after_step:
    assert started.poll() is None and time.monotonic() < deadline
    time.sleep(0.01)
  started.send_signal(signum)
  return started.wait(timeout=60)


def newest_checkpoint(workdir):
  names = [p.name for p in (workdir / 'checkpoints').glob('*')]
  return max((int(n) for n in names if n.isdigit()), default=0)


def timeless(workdir):
  """Metrics without those that measure time."""
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  return [
    {k: v for k, v in json.loads(line).items() if k not in TIMINGS}
    for line in lines
  ]


@pytest.mark.parametrize(
  'arguments, message',
  [
    (['--config.train.stepz=3'], 'config.train.stepz: .*did you mean steps'),
    (['--config.modle.width=3'], 'config.modle: unknown key; known keys: data'),
    (['--config.train.steps=x'], 'config.train.steps=x: invalid'),
    (['--config.train.log_every=0'], 'log_every must be at least 1'),
    (['--config.train.micro_batches=0'], 'micro_batches must be at least 1'),
    (['--config.train.micro_batches=x'], "micro_batches: 'x' is not a whole"),
    (['--config.train.micro_batches=2.5'], "'2.5' is not a whole number"),
    (['--config.sharding.split_parameters=1'], "'1' is not True or False"),
    (['--config.mesh.devices=3'], 'config.mesh: unknown key'),
    (['--config.train.profile_at=-1'], 'profile_at must be at least 0'),
    (['--config.train.steps=3'], 'warmup_steps=5 is not below steps=3'),
    (['--config.objective.name=tests.backbone.train.toy:Tooy'], 'mean Toy'),
    (['--config.objective.name=lifecod:X'], 'there is no module lifecod'),
    (['--config.mesh.modle=3'], 'config.mesh: unknown key'),
    (['elephant'], 'elephant'),
  ],
)
def test_mistakes_are_one_line_and_exit_2(
  config, tmp_path, arguments, message, capsys
):
  argv = ['run', f'--config={config}:smoke', f'--workdir={tmp_path / "w"}']
  assert run_lib.main([*argv, *arguments]) == 2
  said = capsys.readouterr().err
  assert said.count('\n') == 1
  assert re.search(message, said), said
  assert not (tmp_path / 'w').exists()
