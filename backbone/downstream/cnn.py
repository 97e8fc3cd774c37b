"""A supervised convolutional network on single bases: the plain baseline."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from backbone.array_types import Array, Batch, Float, Int, PRNGKey
from backbone.nn.convolution import Convolution, largest
from backbone.nn.linear import Linear
from backbone.nn.norm import RMSNorm

_NUM_BASES = 4
_UNIT = 3


@dataclasses.dataclass(frozen=True)
class CNNConfig:
  """Of a network without pretraining, after Basset (doi:10.1101/gr.200535.115).

  Attributes:
    filters: First filters, of `size` bases each.
    size: Odd.
    width: Of the blocks that follow, one vector a unit of three bases.
    num_blocks: How many.
    block_size: Units that a filter of a block sees, odd.
  """

  filters: int = 256
  size: int = 13
  width: int = 192
  num_blocks: int = 2
  block_size: int = 5

  def init(self, key: PRNGKey) -> tuple['CNN', tuple[()]]:
    """New weights, as an objective has them."""
    return CNN(self, key=key), ()


class CNN(nnx.Module):
  """Filters, the largest answer of each unit, and residual blocks."""

  def __init__(self, config: CNNConfig, *, key: PRNGKey):
    rngs, width = nnx.Rngs(key), config.width
    self.filters = Convolution(
      _NUM_BASES, config.filters, config.size, rngs=rngs
    )
    self.filters_norm = RMSNorm(config.filters)
    self.merge = Linear(config.filters, width, rngs=rngs)
    self.blocks = nnx.List(
      [
        Block(width, config.block_size, rngs=rngs)
        for _ in range(config.num_blocks)
      ]
    )
    self.norm = RMSNorm(width)

  def __call__(
    self, sequence: Int[Array, 'B N'], segment_ids: Int[Array, 'B N']
  ) -> Float[Array, 'B U D']:
    bases = jax.nn.one_hot(sequence, _NUM_BASES)
    x = self.filters_norm(self.filters(bases, segment_ids))
    x = self.merge(jax.nn.gelu(largest(x, _UNIT)))
    for block in self.blocks:
      x = block(x, segment_ids[:, ::_UNIT])
    return self.norm(x)


class Block(nnx.Module):
  """x + down(gelu(convolution(norm(x))))."""

  def __init__(self, width: int, size: int, *, rngs: nnx.Rngs):
    self.norm = RMSNorm(width)
    self.convolution = Convolution(width, width, size, rngs=rngs)
    self.down = Linear(width, width, rngs=rngs)

  def __call__(
    self, x: Float[Array, 'B U D'], segment_ids: Int[Array, 'B U']
  ) -> Float[Array, 'B U D']:
    y = self.convolution(self.norm(x), segment_ids)
    return x + self.down(jax.nn.gelu(y))


def encode(model: CNN, batch: Batch) -> Float[Array, 'B U D']:
  """A vector for each unit of three bases."""
  sequence = batch['sequence'].astype(jnp.int32)
  return model(sequence, batch['segment_ids'])
