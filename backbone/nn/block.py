"""One residual block: a mixer over tokens, then a feed-forward block."""

from flax import nnx

from backbone.array_types import Array, Float, Int
from backbone.nn.mlp import SwiGLU
from backbone.nn.norm import RMSNorm
from backbone.sharding import shard


class Block(nnx.Module):
  """x + mixer(norm(x)), then x + mlp(norm(x)) (pre-norm, as LLaMA)."""

  def __init__(
    self, mixer: nnx.Module, width: int, hidden: int, *, rngs: nnx.Rngs
  ):
    self.mixer_norm = RMSNorm(width)
    self.mixer = mixer
    self.mlp_norm = RMSNorm(width)
    self.mlp = SwiGLU(width, hidden, rngs=rngs)

  def __call__(
    self,
    x: Float[Array, 'B T D'],
    segment_ids: Int[Array, 'B T'],
    positions: Int[Array, 'B T'],
  ) -> Float[Array, 'B T D']:
    x = x + self.mixer(self.mixer_norm(x), segment_ids, positions)
    x = x + self.mlp(self.mlp_norm(x))
    return shard(x, 'batch', 'length', 'embed')
