"""The kernel benchmark: its rows, its refusal, and a TPU that is not here."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pytest

from backbone.kernels import bench, estimate, verified

ROOT = pathlib.Path(__file__).resolve().parents[2]
COLUMNS = {
  'op',
  'implementation',
  'topology',
  'length',
  'dtype',
  'pass',
  'floor_seconds',
}


@pytest.fixture
def passing(monkeypatch):
  monkeypatch.setattr(verified, 'failure', lambda op, implementation: None)


def rows(printed):
  return [json.loads(x) for x in printed.splitlines() if x.startswith('{')]


@pytest.mark.parametrize('op', list(bench.OPS))
def test_measured_rows(op, passing, capsys):
  assert bench.main([op, '--lengths=64', '--json']) == 0
  printed = capsys.readouterr().out
  assert f'{op}, measured, cpu, float32' in printed
  ours = [r for r in rows(printed) if r['implementation'] == 'xla']
  assert [row['pass'] for row in ours] == ['forward', 'forward+backward']
  for row in ours:
    assert row.keys() > COLUMNS
    assert row['measured_seconds'] > 0


def test_no_figures_where_tests_fail(monkeypatch, tmp_path, capsys):
  class Failed:
    returncode = 1

  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  monkeypatch.setattr(subprocess, 'run', lambda *a, **k: Failed)
  assert bench.main(['gated_delta', '--lengths=64']) == 1
  printed = capsys.readouterr()
  assert not printed.out
  assert 'Its tests fail' in printed.err
  assert not list(tmp_path.rglob('*'))


def test_tests_that_passed_are_not_run_again(monkeypatch, tmp_path):
  class Passed:
    returncode = 0

  ran = []
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  monkeypatch.setattr(
    subprocess, 'run', lambda *a, **k: ran.append(a) or Passed
  )
  for _ in range(2):
    assert verified.failure('attention', 'xla') is None
  assert len(ran) == 1


@pytest.mark.parametrize(
  'options', [['--topology=v9:2x2'], ['--implementation=triton']]
)
def test_a_bad_option_is_one_line(options, capsys):
  with pytest.raises(SystemExit) as raised:
    bench.main(['gated_delta', *options])
  assert raised.value.code == 2
  error = capsys.readouterr().err.splitlines()[-1]
  assert 'choose from' in error or 'is one of' in error


def test_trips_of_nested_loops():
  text = """HloModule m
%cond (p: s32[]) -> pred[] {
  %c = s32[] constant(7)
}
%inner (p: s32[]) -> s32[] {
  %a = f32[] add(), backend_config={"estimated_cycles":"10"}
}
%outer (p: s32[]) -> s32[] {
  %w = s32[] while(%p), condition=%cond, body=%inner
  %b = f32[] add(), backend_config={"estimated_cycles":"3"}
}
ENTRY %main (p: s32[]) -> s32[] {
  %w = s32[] while(%p), condition=%cond, body=%outer
}
"""
  bodies, entry = estimate._computations(text)
  cycles = sum(
    trips * sum(estimate._cycles(bodies[name]))
    for name, trips in estimate._reached(bodies, entry, 1)
  )
  assert cycles == 7 * (3 + 7 * 10)


@pytest.mark.skipif(
  importlib.util.find_spec('libtpu') is None,
  reason="libtpu is missing: pip install -e '.[tpu]'",
)
def test_estimated_rows():
  """At half the longest grid a kernel costs half, and keeps near its floor."""
  program = (
    'import sys\n'
    'from backbone.kernels import bench, verified\n'
    'verified.failure = lambda op, implementation: None\n'
    'sys.exit(bench.main(sys.argv[1:]))\n'
  )
  options = [
    'gated_delta',
    '--implementation=pallas_tpu',
    '--topology=v5e:2x2',
    '--lengths=32768,65536',
    '--json',
  ]
  ran = subprocess.run(
    [sys.executable, '-c', program, *options],
    cwd=ROOT,
    env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
    capture_output=True,
    text=True,
  )
  assert ran.returncode == 0, ran.stderr[-3_000:]
  half, whole = [r for r in rows(ran.stdout) if r['pass'] != 'forward']
  assert half.keys() > COLUMNS | {'estimated_seconds', 'hbm_bytes', 'spills'}
  ratio = whole['estimated_seconds'] / half['estimated_seconds']
  assert ratio == pytest.approx(2, rel=0.02)
  assert whole['floor_seconds'] > 0.4 * whole['estimated_seconds']
