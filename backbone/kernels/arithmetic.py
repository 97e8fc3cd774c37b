"""Floating-point operations that a traced program asks for."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import jax

from backbone.kernels import dispatch


def operations(jaxpr: Any) -> int:
  """Of matrix products and convolutions, over all devices.

  Two for each multiply-add; what is element-wise is left out, as in published
  utilisations (arXiv:2204.02311, appendix B). A `while` whose trips are not
  known counts once, of a `cond` its dearest branch.

  Args:
    jaxpr: Of a function traced within `as_specified`.

  Raises:
    ValueError: There is a kernel in it, whose operations nobody knows.
  """
  return sum(_of(equation) for equation in jaxpr.eqns)


def _of(equation: Any) -> int:
  name, given = equation.primitive.name, equation.params
  if name == 'dot_general':
    return _product(equation)
  if name == 'conv_general_dilated':
    return _convolution(equation)
  if name in ('pallas_call', 'ffi_call'):
    raise ValueError(f'{name}: trace the reference of this kernel')
  inner = [operations(jaxpr) for jaxpr in _inner(given)]
  if name == 'cond':
    return max(inner, default=0)
  if name == 'scan':
    return given['length'] * sum(inner)
  if name == 'shard_map':
    # Inside are the shapes of one device.
    return given['mesh'].size * sum(inner)
  return sum(inner)


def _product(equation: Any) -> int:
  (contracted, _), _ = equation.params['dimension_numbers']
  left = equation.invars[0].aval.shape
  return (
    2
    * math.prod(equation.outvars[0].aval.shape)
    * math.prod(left[axis] for axis in contracted)
  )


def _convolution(equation: Any) -> int:
  kernel = equation.invars[1].aval.shape
  outputs = kernel[equation.params['dimension_numbers'].rhs_spec[0]]
  # Taps and channels of a group that make one output.
  terms = math.prod(kernel) // outputs
  return 2 * math.prod(equation.outvars[0].aval.shape) * terms


def _inner(given: dict[str, Any]) -> Iterator[Any]:
  for value in given.values():
    for part in value if isinstance(value, tuple | list) else (value,):
      part = getattr(part, 'jaxpr', part)
      if hasattr(part, 'eqns'):
        yield part


@contextlib.contextmanager
def as_specified() -> Iterator[None]:
  """What is traced inside uses no kernels and computes nothing twice."""
  checkpoint = jax.checkpoint
  jax.checkpoint = lambda function, **_: function
  try:
    with dispatch.references():
      yield
  finally:
    jax.checkpoint = checkpoint
