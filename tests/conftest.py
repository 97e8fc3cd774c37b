"""Eight CPU devices for every test, set before JAX is imported."""

import atexit
import os
import pathlib
import shutil
import sys
import tempfile

os.environ['XLA_FLAGS'] = (
  os.environ.get('XLA_FLAGS', '') + ' --xla_force_host_platform_device_count=8'
)
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
# Many tests compile the same small step: compiled once per session, also for
# the processes that tests start.
if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
  directory = tempfile.mkdtemp(prefix='jax-cache-')
  os.environ['JAX_COMPILATION_CACHE_DIR'] = directory
  os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0.2'
  atexit.register(shutil.rmtree, directory, ignore_errors=True)
# A plain `pytest` does not put the repository root on the path.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
