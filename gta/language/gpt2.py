"""GPT-2 (Radford et al., 2019), equal to the public implementation."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from backbone.array_types import Array, Bool, Float, Int, PRNGKey
from backbone.nn.linear import Linear
from backbone.nn.norm import LayerNorm
from backbone.nn.stack import Remat, Stack
from backbone.sharding import shard
from gta.language import decoder
from gta.language.decoder import Past


@dataclasses.dataclass(frozen=True)
class GPT2Config:
  """Sizes of a decoder; the defaults are those of the smallest published.

  Attributes:
    num_layers: L.
    width: D; the hidden width of a feed-forward block is 4 D.
    num_heads: H, a divisor of D.
    vocabulary: Number of tokens.
    context: Positions that have a vector.
    remat: What a backward pass recomputes.
    dtype: Of activations; norms and softmax are in float32.
  """

  num_layers: int = 12
  width: int = 768
  num_heads: int = 12
  vocabulary: int = 50_257
  context: int = 1_024
  remat: Remat = 'block'
  dtype: str = 'float32'

  def __post_init__(self):
    if self.width % self.num_heads:
      raise ValueError(
        f'width {self.width} is no multiple of num_heads {self.num_heads}'
      )


class Layer(nnx.Module):
  """x + attention(norm(x)), then x + mlp(norm(x)), with biases."""

  def __init__(self, config: GPT2Config, *, rngs: nnx.Rngs):
    width, heads = config.width, config.num_heads
    per_head = width // heads
    self.attention_norm = LayerNorm(width)
    self.heads_in = Linear(width, (3, heads, per_head), rngs=rngs)
    self.heads_in_bias = nnx.Param(jnp.zeros((3, heads, per_head)))
    self.heads_out = Linear((heads, per_head), width, rngs=rngs)
    self.heads_out_bias = nnx.Param(jnp.zeros(width))
    self.mlp_norm = LayerNorm(width)
    self.up = Linear(width, 4 * width, rngs=rngs)
    self.up_bias = nnx.Param(jnp.zeros(4 * width))
    self.down = Linear(4 * width, width, rngs=rngs)
    self.down_bias = nnx.Param(jnp.zeros(width))

  def __call__(
    self,
    x: Float[Array, 'B T D'],
    sees: Bool[Array, 'B T _'],
    positions: Int[Array, 'B T'],
    keys: Float[Array, 'B S H K'] | None,
    values: Float[Array, 'B S H K'] | None,
  ) -> tuple[Float[Array, 'B T D'], tuple[Array, Array]]:
    """Keys and values are those of the past; given back with the new ones."""
    query, keys = self.look(x, positions, keys)
    values = decoder.after(values, self._heads(x)[2])
    mixed = self.heads_out(decoder.attend(query, keys, values, sees))
    x = x + mixed + self.heads_out_bias[...].astype(x.dtype)
    hidden = self.up(self.mlp_norm(x)) + self.up_bias[...].astype(x.dtype)
    down = self.down(jax.nn.gelu(hidden, approximate=True))
    x = x + down + self.down_bias[...].astype(x.dtype)
    return shard(x, 'batch', 'length', 'embed'), (keys, values)

  def look(
    self,
    x: Float[Array, 'B T D'],
    positions: Int[Array, 'B T'],
    keys: Float[Array, 'B S H K'] | None,
  ) -> tuple[Float[Array, 'B T H K'], Float[Array, 'B _ H K']]:
    """Queries, and keys behind those of the past."""
    del positions  # Added to the embeddings.
    query, key, _ = self._heads(x)
    return query, decoder.after(keys, key)

  def _heads(self, x: Float[Array, 'B T D']) -> Float[Array, '3 B T H K']:
    """Queries, keys and values."""
    heads = self.heads_in(self.attention_norm(x))
    return jnp.moveaxis(heads + self.heads_in_bias[...].astype(x.dtype), 2, 0)


class GPT2(nnx.Module):
  """A `decoder.Decoder`."""

  def __init__(self, config: GPT2Config, *, key: PRNGKey):
    table_key, place_key, layers_key = jax.random.split(key, 3)
    tokens = config.vocabulary, config.width
    places = config.context, config.width
    self.table = nnx.Param(0.02 * jax.random.normal(table_key, tokens))
    self.position_table = nnx.Param(0.01 * jax.random.normal(place_key, places))
    self.stack = Stack(
      lambda rngs: Layer(config, rngs=rngs),
      config.num_layers,
      remat=config.remat,
      key=layers_key,
    )
    self.norm = LayerNorm(config.width)
    self.config = config

  def embed(self, tokens: Int[Array, 'B T']) -> Float[Array, 'B T D']:
    """Vectors of tokens, without those of positions."""
    return self.table[...].astype(self.config.dtype)[tokens]

  def __call__(
    self,
    x: Float[Array, 'B T D'],
    is_token: Bool[Array, 'B T'],
    past: Past | None = None,
  ) -> tuple[Float[Array, 'B T D'], Past]:
    x = self._placed(x, is_token, past)
    x, past = decoder.run(self.stack, x, is_token, past)
    return self.norm(x), past

  def watch(
    self,
    x: Float[Array, 'B T D'],
    is_token: Bool[Array, 'B T'],
    past: Past | None = None,
  ) -> Float[Array, 'L B T _']:
    """Where each token looks, given the same: the mean over heads."""
    x = self._placed(x, is_token, past)
    return decoder.watch(self.stack, x, is_token, past)

  def _placed(
    self,
    x: Float[Array, 'B T D'],
    is_token: Bool[Array, 'B T'],
    past: Past | None,
  ) -> Float[Array, 'B T D']:
    """With the embeddings of their positions."""
    _, known, positions = decoder.visible(is_token, past)
    if known.shape[1] > self.config.context:
      raise ValueError(
        f'{known.shape[1]} tokens; GPT-2 has positions for '
        f'{self.config.context}'
      )
    x = x.astype(self.config.dtype)
    return x + self.position_table[...].astype(x.dtype)[positions]

  def scores(self, hidden: Float[Array, 'B T D']) -> Float[Array, 'B T V']:
    """Of the token that follows each, in float32."""
    return (hidden @ self.table[...].astype(hidden.dtype).T).astype(jnp.float32)
