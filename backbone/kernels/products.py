"""Batched matrix products whose gradients keep XLA on CPU on its fast path.

That path takes a right operand of either orientation, but a left one only with
its contracted axis last (docs/benchmarks.md). Plain autodiff makes left
operands that are transposed; here they are copied, behind a barrier that keeps
the copy from being folded into the product again.
"""

import jax
import jax.numpy as jnp

from backbone.array_types import Array, Float


def transposed(x: Float[Array, '*M I J']) -> Float[Array, '*M J I']:
  """A copy, not a view."""
  return jax.lax.optimization_barrier(_swap(x))


@jax.custom_vjp
def times(
  x: Float[Array, '*M I K'], y: Float[Array, '*M K J']
) -> Float[Array, '*M I J']:
  """x y."""
  return x @ y


@jax.custom_vjp
def pairs(
  x: Float[Array, '*M I K'], y: Float[Array, '*M J K']
) -> Float[Array, '*M I J']:
  """x yᵀ."""
  return x @ _swap(y)


@jax.custom_vjp
def overlap(
  x: Float[Array, '*M K I'], y: Float[Array, '*M K J']
) -> Float[Array, '*M I J']:
  """xᵀ y."""
  return transposed(x) @ y


def _swap(x: Array) -> Array:
  return jnp.swapaxes(x, -1, -2)


def _with_operands(product):
  return lambda x, y: (product(x, y), (x, y))


def _times_backward(operands, d):
  x, y = operands
  return d @ _swap(y), transposed(x) @ d


def _pairs_backward(operands, d):
  x, y = operands
  return d @ y, transposed(d) @ x


def _overlap_backward(operands, d):
  x, y = operands
  return y @ _swap(d), x @ d


times.defvjp(_with_operands(times), _times_backward)
pairs.defvjp(_with_operands(pairs), _pairs_backward)
overlap.defvjp(_with_operands(overlap), _overlap_backward)
