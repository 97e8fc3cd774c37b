"""Sizes of softmax attention: what is benchmarked, and what it must cost."""

import dataclasses

import jax
import jax.numpy as jnp

from backbone.array_types import Array

ARGUMENTS = ('query', 'key', 'value')


@dataclasses.dataclass(frozen=True)
class Shape:
  """Of one call; widths are those of a head."""

  batch: int = 8
  length: int = 4_096
  heads: int = 8
  keys: int = 128
  values: int = 128
  dtype: str = 'bfloat16'

  def arguments(self) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of query, key and value."""
    widths = self.keys, self.keys, self.values
    return {
      name: jax.ShapeDtypeStruct(
        (self.batch, self.length, self.heads, width), self.dtype
      )
      for name, width in zip(ARGUMENTS, widths, strict=True)
    }

  def draw(self, key: Array) -> dict[str, Array]:
    """Random arguments, normal."""
    arguments = self.arguments()
    keys = jax.random.split(key, len(arguments))
    return {
      name: jax.random.normal(key, argument.shape).astype(argument.dtype)
      for (name, argument), key in zip(arguments.items(), keys, strict=True)
    }

  def flops(self, *, backward: bool) -> int:
    """Of the products, without recomputing the scores."""
    pairs = self.batch * self.heads * self.length**2
    return pairs * 2 * (self.keys + self.values) * (1 + 2 * backward)

  def num_bytes(self, *, backward: bool) -> int:
    """Of inputs, outputs, and their gradients, each once."""
    width = jnp.dtype(self.dtype).itemsize
    forward = 2 * self.keys + 2 * self.values
    gradients = 4 * self.keys + 3 * self.values
    tokens = self.batch * self.length * self.heads
    return tokens * width * (forward + backward * gradients)


# Widths of the presets of 5 M and, about, 350 M.
CPU = Shape(1, 2_048, 8, 32, 32, 'float32')
ACCELERATOR = Shape()
CPU_LENGTHS = (512, 2_048, 8_192)
ACCELERATOR_LENGTHS = (512, 4_096, 32_768, 131_072)
