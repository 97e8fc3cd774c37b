"""Choice of an implementation: a named one runs or raises, None is logged."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import jax
from absl import logging

Implementation = Literal[
  'reference', 'xla', 'native_cpu', 'pallas_tpu', 'pallas_gpu', 'cudnn'
]

# What None takes, the preferred first. A GPU kernel cannot be tried without a
# GPU: until docs/benchmarks.md has a dated line of its run, it is taken by name
# only. TPU kernels are interpreted, and compiled by the TPU's compiler, in the
# tests.
PREFERRED: Mapping[str, tuple[Implementation, ...]] = {
  'tpu': ('pallas_tpu', 'xla'),
  'gpu': ('xla',),
  'cpu': ('native_cpu', 'xla'),
}

_REPORTED: set[str] = set()
_IS_REFERENCE = contextvars.ContextVar('is_reference', default=False)


@contextlib.contextmanager
def references() -> Iterator[None]:
  """What is traced inside is the specification of every op, on any platform."""
  token = _IS_REFERENCE.set(True)
  try:
    yield
  finally:
    _IS_REFERENCE.reset(token)


def platform() -> str:
  """Of the mesh in use, which may be a pod that is not here, else of JAX."""
  device = jax.sharding.get_abstract_mesh().abstract_device
  return jax.default_backend() if device is None else device.platform


def _report(level: int, message: str) -> None:
  """Once a process."""
  if message not in _REPORTED:
    _REPORTED.add(message)
    logging.log(level, message)


def choose(
  op: str,
  implementation: Implementation | None,
  implementations: Mapping[str, Callable],
  unavailable: Mapping[str, Callable[[], str | None]] = {},
) -> Callable:
  """The callable of a named implementation, or the platform's first.

  Args:
    op: Name of the op, for messages.
    implementation: A name, or None for the first of `PREFERRED` that the op
      has; which one is logged once an op.
    implementations: By name.
    unavailable: By name, why an implementation cannot run here, or None.

  Raises:
    NotImplementedError: The named implementation does not exist.
  """
  if _IS_REFERENCE.get():
    implementation = 'reference'
  if implementation is None:
    preferred = PREFERRED.get(platform(), ('xla',))
    for implementation in (n for n in preferred if n in implementations):
      reason = unavailable.get(implementation, lambda: None)()
      if reason is None:
        _report(logging.INFO, f'{op}: {implementation} on {platform()}')
        break
      _report(logging.WARNING, f'{op}: not {implementation}: {reason}')
  if implementation not in implementations:
    raise NotImplementedError(
      f'{op} has no implementation {implementation!r}; '
      f'it has {", ".join(implementations)}'
    )
  return implementations[implementation]
