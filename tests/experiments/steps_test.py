"""Commands beside each other."""

import pytest

from experiments import steps

CODE = """
import os, pathlib, sys, time
name, code = sys.argv[1:]
folder = pathlib.Path(__file__).parent
(folder / f'{name}.began').touch()
print(name, 'on', len(os.sched_getaffinity(0)), flush=True)
time.sleep(0.2)
sys.exit(int(code))
"""


@pytest.fixture
def made(tmp_path, monkeypatch):
  """From names and exit codes to steps, and where they write."""
  (tmp_path / 'waits.py').write_text(CODE)
  monkeypatch.setenv('PYTHONPATH', str(tmp_path))

  def make(*names_and_codes):
    return [
      {'module': 'waits', 'arguments': [name, code]}
      for name, code in names_and_codes
    ]

  return make, lambda step: tmp_path / 'logs' / f'{step["arguments"][0]}.log'


def test_all_are_run_and_each_has_its_output(made):
  make, log_of = made
  ended = []
  wanted = make(*((f's{i}', 0) for i in range(5)))
  assert steps.call_together(wanted, 2, log_of, ended.append) == 0
  assert sorted(step['arguments'][0] for step in ended) == [
    's0',
    's1',
    's2',
    's3',
    's4',
  ]
  for step in wanted:
    assert log_of(step).read_text().startswith(f'{step["arguments"][0]} on ')


def test_after_a_failure_no_more_are_begun(made, tmp_path, capsys):
  make, log_of = made
  ended = []
  wanted = make(('bad', 3), *((f's{i}', 0) for i in range(8)))
  assert steps.call_together(wanted, 2, log_of, ended.append) == 3
  assert not (tmp_path / 's7.began').exists()
  assert 'bad' not in [step['arguments'][0] for step in ended]
  assert f'see {log_of(wanted[0])}' in capsys.readouterr().err
