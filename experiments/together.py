"""Runs of several processes: whether this is one, and what ends it."""

import ctypes
import glob
import importlib.util
import os
import signal
import sys

EXIT_AGAIN = 75
_COUNTS = ('SLURM_STEP_NUM_TASKS', 'OMPI_COMM_WORLD_SIZE')
_TPU_DEVICES = ('/dev/accel*', '/dev/vfio/[0-9]*')
_PARENT_DEATH_SIGNAL = 1


def is_launched() -> bool:
  """Whether srun, mpirun or a TPU pod has started processes that belong.

  A single host of TPUs counts as a pod of one.
  """
  if any(int(os.environ.get(name, 1)) > 1 for name in _COUNTS):
    return True
  return (
    os.environ.get('JAX_PLATFORMS') != 'cpu'
    and importlib.util.find_spec('libtpu') is not None
    and any(glob.glob(pattern) for pattern in _TPU_DEVICES)
  )


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
    why = (
      'another process of this run is lost'
      if code == -signal.SIGABRT
      else f'this process was ended by {signal.Signals(-code).name}'
    )
    print(
      f'error: {why}; the same command on all goes on from the last checkpoint',
      file=sys.stderr,
      flush=True,
    )
  os._exit(EXIT_AGAIN if code < 0 else code)
