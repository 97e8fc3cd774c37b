"""ESM-2, the protein language model (Lin et al., Science 379:1123, 2023).

Equal to the public implementation with the same weights (weights.py loads
them), packed rows included.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from backbone import sharding
from backbone.array_types import Array, Float, Int, PRNGKey
from backbone.kernels.attention.api import attention
from backbone.nn.attention import rotate
from backbone.nn.linear import Linear
from backbone.nn.norm import LayerNorm
from backbone.nn.stack import Stack
from backbone.sharding import shard

# Order of the published embedding table.
VOCABULARY = (
  *('<cls>', '<pad>', '<eos>', '<unk>'),
  *'LAGVSERTIDPKQNFYMHWCXBUZO.-',
  *('<null_1>', '<mask>'),
)
CLS, PAD, EOS, UNKNOWN = range(4)
MASK = VOCABULARY.index('<mask>')

_ROPE_BASE = 10_000.0
# Share of tokens that were masked in training: 15 %, of them 80 %.
_MASKED_IN_TRAINING = 0.15 * 0.8


@dataclasses.dataclass(frozen=True)
class ESM2Config:
  """Sizes of the encoder.

  Attributes:
    num_layers: L.
    width: D; the hidden width of a feed-forward block is 4 D.
    num_heads: H, a divisor of D.
    dtype: Of activations; sums and norms are float32.
    implementation: Of attention; None: the platform's best.
  """

  num_layers: int
  width: int
  num_heads: int
  dtype: str = 'float32'
  implementation: str | None = None

  def __post_init__(self):
    if self.width % (2 * self.num_heads):
      raise ValueError(
        f'width {self.width} is no multiple of 2 x num_heads {self.num_heads}'
      )


# Published sizes by number of parameters.
SIZES = {
  '8m': ESM2Config(num_layers=6, width=320, num_heads=20),
  '35m': ESM2Config(num_layers=12, width=480, num_heads=20),
  '150m': ESM2Config(num_layers=30, width=640, num_heads=20),
  '650m': ESM2Config(num_layers=33, width=1_280, num_heads=20),
  '3b': ESM2Config(num_layers=36, width=2_560, num_heads=40),
  '15b': ESM2Config(num_layers=48, width=5_120, num_heads=40),
}


class BiasedLinear(Linear):
  """y = x W + b."""

  def __init__(
    self,
    inputs: tuple[int, ...] | int,
    outputs: tuple[int, ...] | int,
    *,
    rngs: nnx.Rngs,
  ):
    super().__init__(inputs, outputs, rngs=rngs)
    self.bias = nnx.Param(jnp.zeros(self.outputs))

  def __call__(self, x: Float[Array, '...']) -> Float[Array, '...']:
    return super().__call__(x) + self.bias[...].astype(x.dtype)


class Layer(nnx.Module):
  """x + attention(norm(x)), then x + mlp(norm(x)), with biases and GELU."""

  def __init__(self, config: ESM2Config, rngs: nnx.Rngs):
    width, heads = config.width, config.num_heads
    per_head = width // heads
    self.attention_norm = LayerNorm(width)
    self.heads_in = BiasedLinear(width, (heads, 3 * per_head), rngs=rngs)
    self.heads_out = BiasedLinear((heads, per_head), width, rngs=rngs)
    self.mlp_norm = LayerNorm(width)
    self.up = BiasedLinear(width, 4 * width, rngs=rngs)
    self.down = BiasedLinear(4 * width, width, rngs=rngs)
    self.implementation = config.implementation

  def __call__(
    self,
    x: Float[Array, 'B T D'],
    segment_ids: Int[Array, 'B T'],
    positions: Int[Array, 'B T'],
  ) -> Float[Array, 'B T D']:
    heads = self.heads_in(self.attention_norm(x))
    query, key, value = jnp.split(heads, 3, axis=-1)
    mixed = attention(
      rotate(query, positions, _ROPE_BASE),
      rotate(key, positions, _ROPE_BASE),
      value,
      segment_ids=segment_ids,
      implementation=self.implementation,
      partition=sharding.partition(query.shape[:3], 'batch', 'length', 'heads'),
    )
    x = x + self.heads_out(mixed)
    hidden = jax.nn.gelu(self.up(self.mlp_norm(x)), approximate=False)
    return shard(x + self.down(hidden), 'batch', 'length', 'embed')


class ESM2(nnx.Module):
  """Encoder and head of the masked language model."""

  def __init__(self, config: ESM2Config, *, key: PRNGKey):
    table_key, layers_key, head_key = jax.random.split(key, 3)
    width = config.width
    self.table = nnx.Param(
      0.02 * jax.random.normal(table_key, (len(VOCABULARY), width))
    )
    self.stack = Stack(
      lambda rngs: Layer(config, rngs),
      config.num_layers,
      remat='none',
      key=layers_key,
    )
    self.norm = LayerNorm(width)
    self.projection = BiasedLinear(width, width, rngs=nnx.Rngs(head_key))
    self.projection_norm = LayerNorm(width)
    self.bias = nnx.Param(jnp.zeros(len(VOCABULARY)))
    self.dtype = jnp.dtype(config.dtype)

  def hidden_states(
    self,
    tokens: Int[Array, 'B T'],
    segment_ids: Int[Array, 'B T'],
    positions: Int[Array, 'B T'],
  ) -> Float[Array, 'layers B T D']:
    """The embedding and the output of every layer, the last one normalised.

    Args:
      tokens: Indices into `VOCABULARY`, <cls> and <eos> around each protein.
      segment_ids: 0 for padding.
      positions: Of a token within its segment, <cls> at 0.
    """
    x = self._embed(tokens, segment_ids)
    graph, layers = nnx.split(self.stack.layers)

    def apply(x, layer):
      return nnx.merge(graph, layer)(x, segment_ids, positions), x

    last, earlier = jax.lax.scan(apply, x, layers)
    return jnp.concatenate([earlier, self.norm(last)[None]])

  def encode(
    self,
    tokens: Int[Array, 'B T'],
    segment_ids: Int[Array, 'B T'],
    positions: Int[Array, 'B T'],
  ) -> Float[Array, 'B T D']:
    """The last of `hidden_states`, without keeping the others."""
    x = self._embed(tokens, segment_ids)
    return self.norm(self.stack(x, segment_ids, positions))

  def logits(self, encoded: Float[Array, 'B T D']) -> Float[Array, 'B T 33']:
    """Scores of `VOCABULARY` from what `encode` gives."""
    hidden = jax.nn.gelu(self.projection(encoded), approximate=False)
    table = self.table[...].astype(encoded.dtype)
    scores = self.projection_norm(hidden) @ table.T
    return scores.astype(jnp.float32) + self.bias[...]

  def _embed(self, tokens, segment_ids):
    """Masked tokens have no embedding; the others make up for what is missing.

    So that the sum over a protein is what it was in training, where a share of
    12 % was masked (token dropout of the public implementation).
    """
    is_masked = tokens == MASK
    x = self.table[...].astype(self.dtype)[tokens]
    share = jax.vmap(_mean_of_segment)(is_masked, segment_ids)
    scale = (1 - _MASKED_IN_TRAINING) / (1 - share)
    is_shown = (segment_ids > 0) & ~is_masked
    x = x * jnp.where(is_shown, scale, 0.0)[..., None].astype(self.dtype)
    return shard(x, 'batch', 'length', 'embed')


def _mean_of_segment(x, segment_ids):
  """Of every token, the mean of x [T] over its segment."""
  num = x.shape[0] + 1
  total = jax.ops.segment_sum(x.astype(jnp.float32), segment_ids, num)
  count = jax.ops.segment_sum(jnp.ones(x.shape), segment_ids, num)
  return (total / jnp.maximum(count, 1))[segment_ids]
