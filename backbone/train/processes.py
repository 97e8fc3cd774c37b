"""One run by several processes, each with devices of its own.

Every process runs the same program on its rows of each batch. Only the first
(the chief) writes metrics and results.
"""

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from backbone import sharding
from backbone.array_types import PyTree

# A process that says nothing for so long is taken for lost.
_HEARTBEAT_SECONDS = 30
# In errors of JAX, of its collectives on CPUs, and of its service.
_SIGNS_OF_LOSS = (
  'UNAVAILABLE',
  'DEADLINE_EXCEEDED',
  'ABORTED',
  'CANCELLED',
  'Gloo',
  'gloo',
)


class ProcessesError(ValueError):
  """Processes that do not find each other, or differ; one line says how."""


def start(
  coordinator: str | None = None,
  number: int | None = None,
  index: int | None = None,
) -> None:
  """Joins the other processes of this run.

  In Slurm (srun), Open MPI and TPU pods JAX finds them by itself; elsewhere all
  three are given. Must come before anything that asks for devices.

  Args:
    coordinator: Address and port of the first process.
    number: Of all processes.
    index: Of this one, from 0.

  Raises:
    ProcessesError: Some are given and some not, or the others do not answer.
  """
  given = [value is not None for value in (coordinator, number, index)]
  if any(given) and not all(given):
    raise ProcessesError(
      'give all of --coordinator=HOST:PORT, --processes=N and --process=I'
    )
  if all(given) and not 0 <= index < number:
    raise ProcessesError(
      f'--process={index} is none of 0 to {number - 1} (--processes)'
    )
  jax.config.update('jax_cpu_collectives_implementation', 'gloo')
  # Programs that overlap on CPUs would exchange their messages in any order.
  jax.config.update('jax_cpu_enable_async_dispatch', False)
  try:
    jax.distributed.initialize(
      coordinator,
      number,
      index,
      # In Slurm JAX would else give this process one GPU of its node's.
      cluster_detection_method='deactivate' if all(given) else None,
      heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
      shutdown_timeout_seconds=_HEARTBEAT_SECONDS,
    )
  except (OSError, RuntimeError, ValueError) as error:
    lines = str(error).strip().splitlines() or ['']
    raise ProcessesError(
      f'the processes of this run do not find each other: {lines[0]}'
    ) from error


def is_chief() -> bool:
  """Whether this process writes what all have made."""
  return jax.process_index() == 0


def reader(mesh: Mesh) -> tuple[int, int]:
  """Whose rows of each batch this process holds, and of how many readers.

  Processes among which rows themselves are split read the same ones.
  """
  own = [
    place
    for place, devices in enumerate(mesh.devices)
    if any(d.process_index == jax.process_index() for d in devices.flat)
  ]
  number, left = divmod(mesh.devices.shape[0], max(len(own), 1))
  first = own[0] if own else 0
  is_block = own == list(range(first, first + len(own)))
  if left or not is_block or first % len(own):
    return 0, 1
  return first // len(own), number


def number() -> int:
  """How many processes make this run; 1 after `leave`."""
  return jax.process_count() if jax.distributed.is_initialized() else 1


def is_lost(error: Exception) -> bool:
  """Whether it says that another process no longer answers."""
  return number() > 1 and any(sign in str(error) for sign in _SIGNS_OF_LOSS)


def any_of(flag: bool) -> bool:
  """Whether it is true in any process; all must ask."""
  if number() == 1:
    return flag
  return bool(multihost_utils.process_allgather(np.array(flag)).any())


def wait_for_all(what: str) -> None:
  """Goes on when every process has come here."""
  if number() > 1:
    multihost_utils.sync_global_devices(what)


def check_alike(value: str, what: str) -> None:
  """Refuses processes that have different data or settings.

  Raises:
    ProcessesError: Another process has another value.
  """
  if number() == 1:
    return
  own = np.frombuffer(value.encode()[:64].ljust(64), np.uint8)
  every = multihost_utils.process_allgather(own)
  for index, other in enumerate(every):
    if not np.array_equal(other, every[0]):
      raise ProcessesError(
        f'process {index} has another {what} than process 0: start all with '
        'the same command and the same data'
      )


def leave(tree: PyTree) -> tuple[PyTree, Mesh]:
  """Ends what is done together; the rest is done by the chief alone.

  On one device, which must have room for it: collectives, those among devices
  of one process as well, would still ask for the other processes.

  Returns:
    The arrays, whole, on a mesh of that device.
  """
  whole = multihost_utils.process_allgather(tree, tiled=True)
  jax.distributed.shutdown()
  mesh = sharding.make_mesh(devices=jax.local_devices()[:1])
  if not is_chief():
    return whole, mesh
  return jax.device_put(whole, sharding.replicated(mesh)), mesh
