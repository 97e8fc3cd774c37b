"""Choice of an implementation: a named one runs or raises, None is logged."""

from collections.abc import Callable, Mapping
from typing import Literal

import jax
from absl import logging

Implementation = Literal['reference', 'xla', 'pallas_tpu', 'pallas_gpu']

_REPORTED: set[tuple[str, str]] = set()


def choose(
  op: str,
  implementation: Implementation | None,
  implementations: Mapping[str, Callable],
) -> Callable:
  """The callable of a named implementation, or the platform's first.

  Args:
    op: Name of the op, for messages.
    implementation: A name, or None for the first of `implementations` that
      the default platform supports; which one is logged once an op.
    implementations: By name, the preferred first.

  Raises:
    NotImplementedError: The named implementation does not exist.
  """
  if implementation is None:
    platform = jax.default_backend()
    supported = ['xla', f'pallas_{platform}']
    implementation = next(n for n in implementations if n in supported)
    if (op, implementation) not in _REPORTED:
      _REPORTED.add((op, implementation))
      logging.info('%s: implementation %s on %s', op, implementation, platform)
  if implementation not in implementations:
    raise NotImplementedError(
      f'{op} has no implementation {implementation!r}; '
      f'it has {", ".join(implementations)}'
    )
  return implementations[implementation]
