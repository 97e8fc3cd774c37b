"""A matrix product over the last axes, with or without a bias."""

import jax
import jax.numpy as jnp
from flax import nnx

from backbone.array_types import Array, Float


class Linear(nnx.Module):
  """y = x W: `inputs` trailing axes of x contract to `outputs` axes of y."""

  def __init__(
    self,
    inputs: tuple[int, ...] | int,
    outputs: tuple[int, ...] | int,
    *,
    scale: float = 1.0,
    rngs: nnx.Rngs,
  ):
    """Draws W from a normal of deviation scale / sqrt(inputs), cut at 2 σ."""
    inputs = (inputs,) if isinstance(inputs, int) else inputs
    outputs = (outputs,) if isinstance(outputs, int) else outputs
    self.num_inputs = len(inputs)
    initializer = jax.nn.initializers.variance_scaling(
      scale**2,
      'fan_in',
      'truncated_normal',
      in_axis=tuple(range(len(inputs))),
      out_axis=tuple(range(len(inputs), len(inputs) + len(outputs))),
    )
    self.kernel = nnx.Param(initializer(rngs.params(), inputs + outputs))

  def __call__(self, x: Float[Array, '...']) -> Float[Array, '...']:
    kernel = self.kernel[...].astype(x.dtype)
    return jnp.tensordot(x, kernel, axes=self.num_inputs)
