"""Memory settings for XLA on CPU, which must precede the process.

XLA allocates the temporary memory of a step anew at every step. With glibc's
defaults the kernel then hands out and zeroes each page again: a quarter of the
time of a training step (docs/benchmarks.md).
"""

import os
import pathlib
import sys

# Huge pages where the system leaves the choice; one heap, which is kept.
_TUNABLES = {
  'glibc.malloc.hugetlb': 1,
  'glibc.malloc.arena_max': 1,
  'glibc.malloc.mmap_max': 0,
  'glibc.malloc.trim_threshold': 1 << 40,
  'glibc.malloc.top_pad': 1 << 28,
}
_ACCELERATORS = ('/dev/nvidiactl', '/dev/accel0', '/dev/vfio/0', '/dev/kfd')


def keep_memory() -> None:
  """Starts this command again with the settings, once, on a CPU machine.

  The process keeps its number, so signals reach it. Does nothing where
  GLIBC_TUNABLES is set already, and beside an accelerator, whose host code
  allocates from many threads.
  """
  is_cpu = os.environ.get('JAX_PLATFORMS') == 'cpu' or not any(
    pathlib.Path(device).exists() for device in _ACCELERATORS
  )
  if sys.platform != 'linux' or 'GLIBC_TUNABLES' in os.environ or not is_cpu:
    return
  settings = ':'.join(f'{name}={value}' for name, value in _TUNABLES.items())
  environment = {**os.environ, 'GLIBC_TUNABLES': settings}
  os.execve(sys.executable, sys.orig_argv, environment)
