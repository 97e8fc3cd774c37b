"""Feed-forward block."""

import jax
from flax import nnx

from backbone.array_types import Array, Float
from backbone.nn.linear import Linear
from backbone.sharding import shard


class SwiGLU(nnx.Module):
  """down(silu(gate(x)) * up(x)) (Shazeer, arXiv:2002.05202)."""

  def __init__(self, width: int, hidden: int, *, rngs: nnx.Rngs):
    self.gate = Linear(width, hidden, rngs=rngs)
    self.up = Linear(width, hidden, rngs=rngs)
    self.down = Linear(hidden, width, rngs=rngs)

  def __call__(self, x: Float[Array, 'B T D']) -> Float[Array, 'B T D']:
    hidden = jax.nn.silu(self.gate(x)) * self.up(x)
    hidden = shard(hidden, 'batch', 'length', 'mlp')
    return self.down(hidden)
