"""`experiments.reproduce` as users run it, small, on real data."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from data_pipelines.errors import InputError
from experiments import reproduce, table_cells, table_page
from experiments.tables import tasks
from tests.real_data import data_path

ROOT = pathlib.Path(__file__).resolve().parents[2]
TABLE = 'lifecode/three_omics'


def command(*arguments):
  return subprocess.run(
    [sys.executable, '-m', 'experiments.reproduce', *arguments],
    cwd=ROOT,
    env={**os.environ, 'XLA_FLAGS': '--xla_backend_optimization_level=0'},
    capture_output=True,
    text=True,
    timeout=600,
  )


@pytest.fixture(scope='module')
def smoke(tmp_path_factory):
  """The arguments of a smoke run that ended well, its table, its output."""
  out = tmp_path_factory.mktemp('reproduce')
  arguments = TABLE, f'--data={data_path()}', f'--out={out}', '--tier=smoke'
  done = command(*arguments)
  assert done.returncode == 0, done.stderr
  return arguments, out / 'smoke' / 'tables' / TABLE, done.stdout


def test_every_task_has_its_controls_and_an_interval(smoke):
  cells = json.loads((smoke[1] / 'results.json').read_text())
  scores = {
    (cell['task'], cell['column']): cell for cell in cells if 'value' in cell
  }
  tasks = {task for task, _ in scores}
  assert len(tasks) >= 4
  for task in tasks:
    for column in ('random_weights', 'kmer', 'pretrained'):
      cell = scores[task, column]
      assert cell['low'] <= cell['value'] <= cell['high']
  assert scores['central_dogma', 'rule']['value'] == 1.0
  assert (smoke[1] / 'table.png').read_bytes().startswith(b'\x89PNG')
  text = (smoke[1] / 'table.md').read_text()
  assert text.strip() in smoke[2]
  assert '`pretrained` is ahead of `random_weights` on ' in text
  assert 'Counts of k-mers are as good or better' in text


def test_what_is_there_is_not_made_again(smoke):
  arguments, out, _ = smoke
  cells = sorted((out.parents[2] / 'cells').rglob('*.json'))
  before = {path: path.stat().st_mtime_ns for path in cells}
  lost = {p: p.read_text() for p in cells if p.parent.name == 'pab1'}
  for path in lost:
    path.unlink()
  done = command(*arguments)
  assert done.returncode == 0, done.stderr
  assert '$ python -m' not in done.stdout
  assert {path: path.read_text() for path in lost} == lost
  changed = {p for p in cells if p.stat().st_mtime_ns != before[p]}
  assert changed == set(lost)


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ((), 'usage: python -m experiments.reproduce TABLE'),
    (('lifecode/none', '--data=.', '--out=x'), 'there is no table lifecode/no'),
    ((TABLE, '--data=/nowhere', '--out=x'), '--data=/nowhere: there is no'),
    ((TABLE, '--data=.', '--out=x', '--tier=huge'), 'smoke|cpu|gpu|pod'),
    ((TABLE, '--data=.', '--out=x', '--seeds=0'), '--seeds'),
  ],
)
def test_mistakes_are_one_line_and_exit_2(arguments, message, capsys):
  assert reproduce.main(['reproduce', *arguments]) == 2
  error = capsys.readouterr().err
  assert message in error and error.count('\n') == 1


def test_seeds_are_as_many_as_asked_for(tmp_path):
  arguments = (TABLE, f'--data={data_path()}', f'--out={tmp_path}')
  table, out = reproduce._read(['reproduce', *arguments, '--seeds=2'])
  assert table_cells.runs(table)[-1][1] == 1
  assert table_cells.workdir_of(table, out, 'pretrained', 1).name.endswith('-1')
  changed = reproduce._run_arguments(table, out, 'pretrained', 1)
  assert {'--config.seed=1', '--config.data.seed=1'} <= set(changed)


@pytest.mark.parametrize(
  ('files', 'message'),
  [
    ({'test': 'sequence\nACGT\n'}, 'test.csv'),
    ({'test': 'sequence,label\nACGT,2\n'}, 'label 2 is not in train.csv'),
    ({'dev': 'sequence,label\n'}, 'validation has no example'),
    ({'train': 'sequence,label\nACGT,0\n'}, 'train has the classes [0]'),
  ],
)
def test_labelled_data_are_read_before_anything_is_trained(
  files, message, tmp_path
):
  good = 'sequence,label\nACGT,0\nGGGT,1\n'
  if 'train' in files:
    good = files['train']
  for name in ('train', 'dev', 'test'):
    (tmp_path / f'{name}.csv').write_text(files.get(name, good))
  table = {
    'tasks': {'gue': tasks.entry('DNA', tasks.classes(tmp_path))},
    'cells': {
      'name': 'backbone.downstream.cells:Probes',
      'encode': 'vqdna.encode:encode',
    },
  }
  with pytest.raises(InputError, match=re.escape(message)):
    table_cells.check_tasks(table, tmp_path / 'out')


def test_a_mean_keeps_the_widest_interval_of_its_seeds():
  cells = [
    {'value': 0.5, 'low': 0.4, 'high': 0.6},
    {'value': 0.7, 'low': 0.6, 'high': 0.9},
  ]
  assert table_page.summarize(cells) == {
    'value': pytest.approx(0.6),
    'low': 0.4,
    'high': 0.9,
  }
