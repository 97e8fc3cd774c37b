"""Decoders of the Llama family (arXiv:2302.13971, arXiv:2407.21783).

Equal to the public implementation with the same weights; weights.py reads
those, llama2c.py the small files of llama2.c.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from backbone.array_types import Array, Bool, Float, Int, PRNGKey
from backbone.nn.linear import Linear
from backbone.nn.mlp import SwiGLU
from backbone.nn.stack import Remat, Stack
from backbone.sharding import shard
from gta.language import decoder
from gta.language.decoder import Past


@dataclasses.dataclass(frozen=True)
class RopeScaling:
  """Longer wave lengths for a longer context, as Llama 3.1 has them.

  Attributes:
    factor: By which the longest are stretched.
    low_frequency: Wave lengths above `context` over this are stretched whole.
    high_frequency: Those below `context` over this stay as they are.
    context: What was trained before the stretching.
  """

  factor: float = 8.0
  low_frequency: float = 1.0
  high_frequency: float = 4.0
  context: int = 8_192


@dataclasses.dataclass(frozen=True)
class LlamaConfig:
  """Sizes of a decoder.

  Attributes:
    num_layers: L.
    width: D.
    num_heads: H, of queries.
    num_groups: G, of keys and values, a divisor of H.
    hidden: F of the feed-forward blocks.
    vocabulary: Number of tokens.
    head_width: K; None is D / H.
    rope_base: Of the rotary positions.
    rope_scaling: None leaves them as they are.
    epsilon: Of the norms.
    is_tied: Whether scores are products with the embeddings.
    remat: What a backward pass recomputes.
    dtype: Of activations; norms and softmax are in float32.
  """

  num_layers: int
  width: int
  num_heads: int
  num_groups: int
  hidden: int
  vocabulary: int
  head_width: int | None = None
  rope_base: float = 500_000.0
  rope_scaling: RopeScaling | None = None
  epsilon: float = 1e-5
  is_tied: bool = False
  remat: Remat = 'block'
  dtype: str = 'float32'

  def __post_init__(self):
    if self.num_heads % self.num_groups:
      raise ValueError(
        f'num_heads {self.num_heads} is no multiple of num_groups '
        f'{self.num_groups}'
      )
    if self.head_width is None and self.width % self.num_heads:
      raise ValueError(
        f'width {self.width} is no multiple of num_heads {self.num_heads}'
      )

  @property
  def key_width(self) -> int:
    """K."""
    return self.head_width or self.width // self.num_heads


# Published sizes.
SIZES = {
  'llama3_8b': LlamaConfig(
    num_layers=32,
    width=4_096,
    num_heads=32,
    num_groups=8,
    hidden=14_336,
    vocabulary=128_256,
    dtype='bfloat16',
  ),
  'llama3_1b': LlamaConfig(
    num_layers=16,
    width=2_048,
    num_heads=32,
    num_groups=8,
    hidden=8_192,
    vocabulary=128_256,
    rope_scaling=RopeScaling(factor=32.0),
    is_tied=True,
    dtype='bfloat16',
  ),
}


def frequencies(config: LlamaConfig) -> np.ndarray:
  """Of each pair of channels, radians a token [K / 2]."""
  half = config.key_width // 2
  found = config.rope_base ** (-np.arange(half) / half)
  scaling = config.rope_scaling
  if scaling is None:
    return found
  num_waves = scaling.context * found / (2 * math.pi)
  span = scaling.high_frequency - scaling.low_frequency
  kept = np.clip((num_waves - scaling.low_frequency) / span, 0, 1)
  return kept * found + (1 - kept) * found / scaling.factor


def rotate(
  x: Float[Array, 'B T H K'],
  positions: Int[Array, 'B T'],
  turns: np.ndarray,
) -> Float[Array, 'B T H K']:
  """Rotary positions (Su et al., arXiv:2104.09864), halves paired."""
  angle = positions[:, :, None, None] * jnp.asarray(turns, jnp.float32)
  cosine, sine = jnp.cos(angle), jnp.sin(angle)
  first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
  turned = (first * cosine - second * sine, second * cosine + first * sine)
  return jnp.concatenate(turned, axis=-1).astype(x.dtype)


class RMSNorm(nnx.Module):
  """x / rms(x) * scale, rounded before the scale as the published code has it.

  With an epsilon of its own, which weights are trained with.
  """

  def __init__(self, width: int, epsilon: float):
    self.scale = nnx.Param(jnp.ones(width))
    self.epsilon = epsilon

  def __call__(self, x: Float[Array, '... D']) -> Float[Array, '... D']:
    wide = x.astype(jnp.float32)
    mean = jnp.square(wide).mean(-1, keepdims=True)
    normal = (wide * jax.lax.rsqrt(mean + self.epsilon)).astype(x.dtype)
    return normal * self.scale[...].astype(x.dtype)


class Layer(nnx.Module):
  """x + attention(norm(x)), then x + mlp(norm(x)), without biases."""

  def __init__(self, config: LlamaConfig, *, rngs: nnx.Rngs):
    width, keys = config.width, config.key_width
    heads, groups = config.num_heads, config.num_groups
    self.attention_norm = RMSNorm(width, config.epsilon)
    self.query_heads_in = Linear(width, (heads, keys), rngs=rngs)
    self.key_heads_in = Linear(width, (groups, keys), rngs=rngs)
    self.value_heads_in = Linear(width, (groups, keys), rngs=rngs)
    self.heads_out = Linear((heads, keys), width, rngs=rngs)
    self.mlp_norm = RMSNorm(width, config.epsilon)
    self.mlp = SwiGLU(width, config.hidden, rngs=rngs)
    self.config = config

  def __call__(
    self,
    x: Float[Array, 'B T D'],
    sees: Bool[Array, 'B T _'],
    positions: Int[Array, 'B T'],
    keys: Float[Array, 'B S G K'] | None,
    values: Float[Array, 'B S G K'] | None,
  ) -> tuple[Float[Array, 'B T D'], tuple[Array, Array]]:
    """Keys and values are those of the past; given back with the new ones."""
    query, keys = self.look(x, positions, keys)
    value = self.value_heads_in(self.attention_norm(x))
    values = decoder.after(values, value)
    x = x + self.heads_out(decoder.attend(query, keys, values, sees))
    x = x + self.mlp(self.mlp_norm(x))
    return shard(x, 'batch', 'length', 'embed'), (keys, values)

  def look(
    self,
    x: Float[Array, 'B T D'],
    positions: Int[Array, 'B T'],
    keys: Float[Array, 'B S G K'] | None,
  ) -> tuple[Float[Array, 'B T H K'], Float[Array, 'B _ G K']]:
    """Queries, and keys behind those of the past."""
    normal = self.attention_norm(x)
    turns = frequencies(self.config)
    query = rotate(self.query_heads_in(normal), positions, turns)
    key = rotate(self.key_heads_in(normal), positions, turns)
    return query, decoder.after(keys, key)


class Llama(nnx.Module):
  """A `decoder.Decoder`."""

  def __init__(self, config: LlamaConfig, *, key: PRNGKey):
    table_key, layers_key, head_key = jax.random.split(key, 3)
    shape = config.vocabulary, config.width
    self.table = nnx.Param(0.02 * jax.random.normal(table_key, shape))
    self.stack = Stack(
      lambda rngs: Layer(config, rngs=rngs),
      config.num_layers,
      remat=config.remat,
      key=layers_key,
    )
    self.norm = RMSNorm(config.width, config.epsilon)
    self.head = (
      None
      if config.is_tied
      else Linear(config.width, config.vocabulary, rngs=nnx.Rngs(head_key))
    )
    self.config = config

  def embed(self, tokens: Int[Array, 'B T']) -> Float[Array, 'B T D']:
    """Vectors of tokens."""
    return self.table[...].astype(self.config.dtype)[tokens]

  def __call__(
    self,
    x: Float[Array, 'B T D'],
    is_token: Bool[Array, 'B T'],
    past: Past | None = None,
  ) -> tuple[Float[Array, 'B T D'], Past]:
    x, past = decoder.run(
      self.stack, x.astype(self.config.dtype), is_token, past
    )
    return self.norm(x), past

  def watch(
    self,
    x: Float[Array, 'B T D'],
    is_token: Bool[Array, 'B T'],
    past: Past | None = None,
  ) -> Float[Array, 'L B T _']:
    """Where each token looks, given the same: the mean over heads."""
    x = x.astype(self.config.dtype)
    return decoder.watch(self.stack, x, is_token, past)

  def scores(self, hidden: Float[Array, 'B T D']) -> Float[Array, 'B T V']:
    """Of the token that follows each, in float32."""
    if self.head is not None:
      return self.head(hidden).astype(jnp.float32)
    return (hidden @ self.table[...].astype(hidden.dtype).T).astype(jnp.float32)
