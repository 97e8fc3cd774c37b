"""A matrix product over the last axes."""

import math

import jax
from flax import nnx

from backbone.array_types import Array, Float


class Linear(nnx.Module):
  """y = x W: `inputs` trailing axes of x contract to `outputs` axes of y."""

  def __init__(
    self,
    inputs: tuple[int, ...] | int,
    outputs: tuple[int, ...] | int,
    *,
    rngs: nnx.Rngs,
  ):
    """Draws W from a normal of deviation 1 / sqrt(inputs), cut at 2 σ."""
    self.inputs = (inputs,) if isinstance(inputs, int) else inputs
    self.outputs = (outputs,) if isinstance(outputs, int) else outputs
    num_inputs = len(self.inputs)
    initializer = jax.nn.initializers.variance_scaling(
      1.0,
      'fan_in',
      'truncated_normal',
      in_axis=tuple(range(num_inputs)),
      out_axis=tuple(range(num_inputs, num_inputs + len(self.outputs))),
    )
    shape = self.inputs + self.outputs
    self.kernel = nnx.Param(initializer(rngs.params(), shape))

  def __call__(self, x: Float[Array, '...']) -> Float[Array, '...']:
    leading = x.shape[: x.ndim - len(self.inputs)]
    kernel = self.kernel[...].astype(x.dtype)
    size = math.prod(self.inputs)
    y = _product(x.reshape(*leading, size), kernel.reshape(size, -1))
    return y.reshape(*leading, *self.outputs)


@jax.custom_vjp
def _product(x: Float[Array, '... I'], kernel: Float[Array, 'I O']):
  return x @ kernel


def _forward(x, kernel):
  return x @ kernel, (x, kernel)


def _backward(residuals, dy):
  """The narrower of x and dy goes to the left of the weights' gradient.

  XLA on CPU transposes the left operand, and would compute whatever makes it
  in that strided order (docs/benchmarks.md): hence narrow, and behind a
  barrier.
  """
  x, kernel = residuals
  rows = tuple(range(x.ndim - 1))
  contract = ((rows, rows), ((), ()))
  x, dy = jax.lax.optimization_barrier((x, dy))
  if x.shape[-1] <= dy.shape[-1]:
    d_kernel = jax.lax.dot_general(x, dy, contract)
  else:
    d_kernel = jax.lax.dot_general(dy, x, contract).T
  return dy @ kernel.T, d_kernel


_product.defvjp(_forward, _backward)
