"""The one tolerance: derived from type and length, the same everywhere."""

import math

import jax.numpy as jnp
import numpy as np


def relative(dtype, length: int) -> float:
  """Allowed error beside the largest value, for sums over `length` terms.

  Inputs and operands are rounded to `dtype`, independently of each other;
  sums are kept in float32, whose rounding errors grow as sqrt(length). Eight
  of each stand for the chain of products of an op and its gradient.
  """
  rounding = float(jnp.finfo(dtype).eps)
  summing = float(jnp.finfo(jnp.float32).eps) * math.sqrt(length)
  return 8 * (rounding + summing)


def assert_close(
  actual, expected, *, dtype, length: int, name: str = '', terms: float = 1e-3
):
  """Fails where |actual - expected| exceeds the tolerance x max |expected|.

  A result that vanishes has no size of its own: `terms` is the size of what
  was summed to it; by default far below the order-one inputs of every test.
  """
  actual = np.asarray(actual, np.float64)
  expected = np.asarray(expected, np.float64)
  assert actual.shape == expected.shape, name
  assert np.isfinite(actual).all(), f'{name} is not finite'
  size = max(np.abs(expected).max(initial=0), terms)
  error = np.abs(actual - expected).max(initial=0) / size
  allowed = relative(dtype, length)
  assert error <= allowed, f'{name}: error {error:.2e} > {allowed:.2e}'
