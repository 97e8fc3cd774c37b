"""Several processes make one run: the same numbers, and none hangs."""

import collections
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from backbone.sharding import make_mesh
from backbone.train import processes
from backbone.train.optim import AdamW
from backbone.train.state import abstract_state
from tests.backbone.train.toy import Toy
from tests.experiments.commands import ROOT

STEPS, BATCH, DEVICES = 600, 8, 8
CONFIG = f"""
  import ml_collections

  def get_config(arg=None):
    config = ml_collections.ConfigDict()
    config.objective = {{'name': 'tests.backbone.train.toy:Toy', 'width': 8}}
    config.data = {{'name': 'tests.backbone.train.toy:ToyData', 'path': '',
                   'batch_size': {BATCH}, 'log': '', 'manifest': 'toy'}}
    config.optimizer = {{'name': 'backbone.train.optim:AdamW',
                        'learning_rate': 0.02, 'warmup_steps': 5}}
    config.train = {{'steps': {STEPS}, 'log_every': 10,
                    'evaluate_every': 200, 'evaluate_rows': 16,
                    'checkpoint_every': 50}}
    config.tables = [{{'name': 'tests.backbone.train.toy:ToyTable',
                      'split': 'test'}}]
    return config
"""


@pytest.fixture(scope='module')
def config(tmp_path_factory):
  """An experiment file."""
  path = tmp_path_factory.mktemp('config') / 'toy.py'
  path.write_text(textwrap.dedent(CONFIG))
  return path


class Started:
  """A run of several processes, of eight devices in all."""

  def __init__(self, config, workdir, number, *, to_last=()):
    workdir.mkdir(exist_ok=True)
    self.workdir = workdir
    with socket.socket() as free:
      free.bind(('127.0.0.1', 0))
      port = free.getsockname()[1]
    self.processes = [
      self._start(config, number, index, port, to_last)
      for index in range(number)
    ]

  def _start(self, config, number, index, port, to_last):
    command = [
      *(sys.executable, '-m', 'experiments.run', f'--config={config}'),
      f'--workdir={self.workdir}',
      f'--config.data.log={self.workdir / "rows.log"}',
    ]
    if number > 1:
      command += [f'--coordinator=127.0.0.1:{port}', f'--processes={number}']
      command += [f'--process={index}']
    if index == number - 1:
      command += to_last
    devices = f'--xla_force_host_platform_device_count={DEVICES // number}'
    return subprocess.Popen(
      command,
      cwd=ROOT,
      env=os.environ | {'XLA_FLAGS': devices, 'PYTHONPATH': str(ROOT)},
      stdout=subprocess.PIPE,
      stderr=(self.workdir / f'{index}.err').open('w'),
      text=True,
      start_new_session=True,
    )

  def said(self, index):
    """The last line of complaint."""
    return (self.workdir / f'{index}.err').read_text().splitlines()[-1]

  def signal_after(self, step, index, signum, *, send=os.kill):
    """Signals one process, once there is a checkpoint of that step."""
    deadline = time.monotonic() + 200
    while newest_checkpoint(self.workdir) < step:
      assert all(p.poll() is None for p in self.processes), self.said(0)
      assert time.monotonic() < deadline
      time.sleep(0.01)
    send(self.processes[index].pid, signum)

  def codes(self, timeout=240):
    """How all have ended."""
    return [p.wait(timeout) for p in self.processes]


def newest_checkpoint(workdir):
  names = [p.name for p in (workdir / 'checkpoints').glob('*')]
  return max((int(n) for n in names if n.isdigit()), default=0)


def final_parameters(workdir):
  mesh = make_mesh()
  with jax.set_mesh(mesh):
    _, abstract = abstract_state(
      Toy(width=8), AdamW().transform(STEPS), mesh=mesh
    )
    path = (workdir / 'checkpoints' / str(STEPS) / 'state').absolute()
    with ocp.StandardCheckpointer() as reader:
      return reader.restore(path, abstract).params


def losses(workdir):
  lines = map(json.loads, (workdir / 'metrics.jsonl').read_text().splitlines())
  return {(line['split'], line['step']): line['loss'] for line in lines}


def rows_read(workdir):
  """Of every (batch, row) of training, what it held, each time it was read."""
  found = collections.defaultdict(set)
  for line in (workdir / 'rows.log').read_text().splitlines():
    batch, row, crc = map(int, line.split())
    if batch < STEPS:
      found[batch, row].add(crc)
  return found


@pytest.fixture(scope='module')
def whole(config, tmp_path_factory):
  """One process, undisturbed."""
  workdir = tmp_path_factory.mktemp('whole')
  assert Started(config, workdir, 1).codes() == [0]
  return workdir


def check_equal(workdir, whole):
  """The same losses and parameters but for the order of sums."""
  ours, wanted = losses(workdir), losses(whole)
  assert ours.keys() == wanted.keys()
  for key, loss in wanted.items():
    np.testing.assert_allclose(ours[key], loss, rtol=1e-4, err_msg=str(key))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
    final_parameters(workdir),
    final_parameters(whole),
  )


def test_two_processes_are_as_one(config, whole, tmp_path):
  started = Started(config, tmp_path / 'two', 2)
  assert started.codes() == [0, 0], started.said(0)
  check_equal(tmp_path / 'two', whole)
  first, second = (p.stdout.read() for p in started.processes)
  # The first alone makes the results.
  assert 'report: ' in first and 'report: ' not in second


def test_killed_and_continued_by_other_numbers_of_processes(
  config, whole, tmp_path
):
  cut = tmp_path / 'cut'
  started = Started(config, cut, 2)
  started.signal_after(100, 1, signal.SIGKILL)
  begin = time.monotonic()
  assert started.codes() == [75, -signal.SIGKILL]
  assert time.monotonic() - begin < 60
  assert started.said(0).startswith('error: another process of this run is lo')

  started = Started(config, cut, 1)
  started.signal_after(250, 0, signal.SIGTERM)
  assert started.codes() == [75]
  started = Started(config, cut, 2)
  # To the process and to what it watches, as whoever ends a group does.
  started.signal_after(400, 1, signal.SIGTERM, send=os.killpg)
  assert started.codes() == [75, 75]
  assert 'stopped by a signal after step' in started.said(1)

  assert Started(config, cut, 4).codes() == [0, 0, 0, 0]
  check_equal(cut, whole)
  # Every row of every batch was read, and was the same whenever it was read
  # again after a kill.
  assert rows_read(cut) == rows_read(whole)
  assert len(rows_read(cut)) == STEPS * BATCH


def test_the_chief_may_be_lost_as_well(config, tmp_path):
  started = Started(config, tmp_path / 'w', 2)
  started.signal_after(50, 0, signal.SIGKILL)
  assert started.codes(60) == [-signal.SIGKILL, 75]
  assert started.said(1).startswith('error: another process of this run is lo')


def test_processes_with_other_data_are_refused(config, tmp_path):
  other = ['--config.data.manifest=other']
  started = Started(config, tmp_path / 'w', 2, to_last=other)
  assert started.codes(120) == [2, 2]
  assert 'process 1 has another data set than process 0' in started.said(0)


def test_half_an_address_is_refused():
  with pytest.raises(processes.ProcessesError, match='give all of'):
    processes.start('127.0.0.1:1', 2, None)
  with pytest.raises(processes.ProcessesError, match='--process=2 is none of'):
    processes.start('127.0.0.1:1', 2, 2)
