"""Whether the tests of a kernel pass, asked once per state of its sources."""

import hashlib
import os
import pathlib
import subprocess
import sys

import jax

_ROOT = pathlib.Path(__file__).resolve().parents[2]


def failure(op: str, implementation: str) -> str | None:
  """Why a form may not be benchmarked; None if its tests pass.

  Runs `tests/kernels/<op>/forms_test.py`, minutes for an interpreted kernel,
  unless it has passed with the same sources and the same JAX.
  """
  tests = _ROOT / 'tests' / 'kernels' / op / 'forms_test.py'
  if not tests.exists():
    return 'Its tests are not here: run from a checkout of the repository.'
  stamp = _stamp(tests, op, implementation)
  if implementation == 'reference' or stamp.exists():
    return None
  print(f'running the tests of {op} {implementation}', file=sys.stderr)
  command = [sys.executable, '-m', 'pytest', '-q', '-x', '-k', implementation]
  ran = subprocess.run(
    [*command, str(tests)],
    cwd=_ROOT,
    env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
    capture_output=True,
    text=True,
  )
  if ran.returncode:
    return f'Its tests fail: {" ".join(command[1:])} {tests}'
  stamp.parent.mkdir(parents=True, exist_ok=True)
  stamp.touch()
  return None


def _stamp(tests: pathlib.Path, op: str, implementation: str) -> pathlib.Path:
  digest = hashlib.sha256(jax.__version__.encode())
  kernels = pathlib.Path(__file__).parent
  shared = sorted(kernels.glob('*.py'))
  for path in [*shared, *sorted((kernels / op).glob('*.py')), tests]:
    digest.update(path.read_bytes())
  cache = os.environ.get('XDG_CACHE_HOME', pathlib.Path.home() / '.cache')
  name = f'{op}-{implementation}-{digest.hexdigest()[:16]}'
  return pathlib.Path(cache) / 'multiomics-jax' / 'kernel-tests' / name
