"""Runs of several processes: whether this is one, and what ends it."""

import ctypes
import glob
import importlib.util
import os
import signal
import sys
import urllib.request

EXIT_AGAIN = 75
LOST = (
  'another process of this run is lost; the same command on all goes on from '
  'the last checkpoint'
)
_COUNTS = ('SLURM_STEP_NUM_TASKS', 'OMPI_COMM_WORLD_SIZE')
_TPU_DEVICES = ('/dev/accel*', '/dev/vfio/[0-9]*')
# Hosts of a slice of Cloud TPUs, by comma, as JAX reads them.
_TPU_HOSTS = (
  'http://metadata.google.internal/computeMetadata/v1/instance/attributes/'
  'worker-network-endpoints'
)
_PARENT_DEATH_SIGNAL = 1


def is_launched() -> bool:
  """Whether srun, mpirun or a TPU pod has started processes that belong."""
  if any(int(os.environ.get(name, 1)) > 1 for name in _COUNTS):
    return True
  return (
    os.environ.get('JAX_PLATFORMS') != 'cpu'
    and importlib.util.find_spec('libtpu') is not None
    and any(glob.glob(pattern) for pattern in _TPU_DEVICES)
    and ',' in _tpu_hosts()
  )


def _tpu_hosts() -> str:
  if hosts := os.environ.get('TPU_WORKER_HOSTNAMES'):
    return hosts
  asked = urllib.request.Request(
    _TPU_HOSTS, headers={'Metadata-Flavor': 'Google'}
  )
  try:
    with urllib.request.urlopen(asked, timeout=5) as answer:
      return answer.read().decode()
  except OSError:
    return ''


def watch() -> None:
  """Goes on in a child; this process says in one line how the child ended.

  When another process is lost, JAX aborts this one from a thread of its own, so
  that nothing here could say so. Call before there are threads.
  """
  child = os.fork()
  if not child:
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    return
  # A terminal interrupts the child as well.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
  code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
  if code < 0:
    code = _explain(signal.Signals(-code))
  os._exit(code)


def _explain(signum: signal.Signals) -> int:
  """What to say, and to return, of a child that a signal ended."""
  text = LOST
  if signum != signal.SIGABRT:
    text = f'this process was ended by {signum.name}'
  print(f'error: {text}', file=sys.stderr, flush=True)
  is_lost = signum in (signal.SIGABRT, signal.SIGTERM)
  # Else as a shell has it: what may happen again is not to be repeated.
  return EXIT_AGAIN if is_lost else 128 + signum
