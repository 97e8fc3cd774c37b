"""Sizes of the gated delta rule: what is benchmarked, and what it must cost."""

import dataclasses

import jax
import jax.numpy as jnp

from backbone.array_types import Array

ARGUMENTS = ('query', 'key', 'value', 'log_decay', 'beta')

# Tokens in a chunk of the algorithm whose floor is counted.
_CHUNK = 128


@dataclasses.dataclass(frozen=True)
class Shape:
  """Of one call; widths are those of a head."""

  batch: int = 8
  length: int = 4_096
  heads: int = 8
  keys: int = 128
  values: int = 256
  dtype: str = 'bfloat16'

  def arguments(self) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of query, key, value, log_decay and beta."""
    tokens = (self.batch, self.length, self.heads)
    widths = {'query': self.keys, 'key': self.keys, 'value': self.values}
    return {
      name: jax.ShapeDtypeStruct((*tokens, widths[name]), self.dtype)
      if name in widths
      else jax.ShapeDtypeStruct(tokens, jnp.float32)
      for name in ARGUMENTS
    }

  def draw(self, key: Array) -> dict[str, Array]:
    """Random arguments as a layer would give them."""
    keys = jax.random.split(key, len(ARGUMENTS))
    drawn = {
      name: jax.random.normal(key, argument.shape)
      for (name, argument), key in zip(
        self.arguments().items(), keys, strict=True
      )
    }
    for name in ('query', 'key'):
      drawn[name] /= jnp.linalg.norm(drawn[name], axis=-1, keepdims=True)
    drawn['log_decay'] = -jax.nn.softplus(drawn['log_decay'] - 3)
    drawn['beta'] = jax.nn.sigmoid(drawn['beta'])
    return {
      name: drawn[name].astype(argument.dtype)
      for name, argument in self.arguments().items()
    }

  def flops(self, *, backward: bool) -> int:
    """Of the products of the chunked algorithm, without inverse or recomputing.

    Forward, a token: q kᵀ and k kᵀ of a chunk, its inverse and its scores
    times the values, and three products with the state. Backward: the two of
    each that its operands' gradients need; those of k kᵀ and k S share.
    """
    k, v, c = self.keys, self.values, _CHUNK
    forward = 4 * c * k + 4 * c * v + 6 * k * v
    gradients = 8 * c * k + 8 * c * v + 12 * k * v
    tokens = self.batch * self.length * self.heads
    return tokens * (forward + backward * gradients)

  def num_bytes(self, *, backward: bool) -> int:
    """Of inputs, outputs, and their gradients, each once."""
    width = jnp.dtype(self.dtype).itemsize
    forward = width * (2 * self.keys + 2 * self.values) + 8
    gradients = width * (4 * self.keys + 3 * self.values) + 16
    tokens = self.batch * self.length * self.heads
    return tokens * (forward + backward * gradients)


# Widths of the presets of 5 M and 350 M.
CPU = Shape(1, 2_048, 6, 32, 64, 'float32')
ACCELERATOR = Shape()
CPU_LENGTHS = (512, 2_048, 8_192, 65_536)
ACCELERATOR_LENGTHS = (512, 4_096, 32_768, 131_072)
