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

  Runs those of `tests/kernels/<op>`, minutes for an interpreted kernel, unless
  they have passed with the same sources and the same JAX.
  """
  folder = _ROOT / 'tests' / 'kernels' / op
  if not folder.exists():
    return 'Its tests are not here: run from a checkout of the repository.'
  # A form for GPUs has a file of its own; the others share one, on the CPU.
  if implementation in ('pallas_gpu', 'cudnn'):
    arguments = [str(folder / f'{implementation}_test.py')]
    environment = dict(os.environ)
  else:
    arguments = [str(folder / 'forms_test.py'), '-k', implementation]
    environment = {**os.environ, 'JAX_PLATFORMS': 'cpu'}
  stamp = _stamp(op, implementation)
  if implementation == 'reference' or stamp.exists():
    return None
  print(f'running the tests of {op} {implementation}', file=sys.stderr)
  command = [sys.executable, '-m', 'pytest', '-q', '-x', *arguments]
  ran = subprocess.run(
    command, cwd=_ROOT, env=environment, capture_output=True, text=True
  )
  if ran.returncode:
    return f'Its tests fail: {" ".join(command[1:])}'
  stamp.parent.mkdir(parents=True, exist_ok=True)
  stamp.touch()
  return None


def _stamp(op: str, implementation: str) -> pathlib.Path:
  kernels = pathlib.Path(__file__).parent
  tests = _ROOT / 'tests' / 'kernels' / op
  digest = hashlib.sha256(jax.__version__.encode())
  for folder in (kernels, kernels / op, kernels / op / 'native', tests):
    for path in sorted(folder.glob('*.*')):
      digest.update(path.read_bytes())
  cache = os.environ.get('XDG_CACHE_HOME', pathlib.Path.home() / '.cache')
  name = f'{op}-{implementation}-{digest.hexdigest()[:16]}'
  return pathlib.Path(cache) / 'multiomics-jax' / 'kernel-tests' / name
