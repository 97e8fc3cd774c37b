"""The convolutional encoder and decoder of a vocabulary (VQDNA's stage 1)."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from backbone.array_types import Array, Bool, Float, Int, PRNGKey
from backbone.nn.convolution import Convolution, ShortConvolution
from backbone.nn.linear import Linear
from backbone.nn.norm import LayerNorm
from backbone.sharding import shard

NUM_BASES = 4
# One-hot A C G T, and whether the base is hidden from the encoder.
NUM_CHANNELS = NUM_BASES + 1


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
  """Shape of the encoder; the decoder mirrors it.

  VQDNA (arXiv:2405.10812) has a stem of width 256 and six blocks of width 384,
  one token a base, and reads the coarse level after three of them. How 256
  becomes 384 is not described: here by a second convolution like the first. It
  is said to have 16 M parameters; these are 15.4 M with one codebook of 512.

  Attributes:
    stem_width: Channels of the stem.
    width: D, of blocks and codes.
    num_blocks: Of the encoder.
    taps: After how many blocks each level reads; the last is `num_blocks`.
    stem_size: Taps of the dense convolutions, odd.
    block_size: Taps of the depthwise convolutions, odd.
    expansion: Hidden width of a block over its width.
    token_stride: Bases of a token, 1 or 3 (a segment has whole codons).
    code_width: Of the vectors that are quantised, if not D; narrow codes are a
      remedy for collapse elsewhere (improved VQGAN, arXiv:2110.04627).
    dtype: Of activations; distances to codes are in float32 always.
  """

  stem_width: int = 256
  width: int = 384
  num_blocks: int = 6
  taps: tuple[int, ...] = (3, 6)
  stem_size: int = 5
  block_size: int = 7
  expansion: int = 4
  token_stride: int = 1
  code_width: int | None = None
  dtype: str = 'float32'

  def __post_init__(self):
    if self.token_stride not in (1, 3):
      raise ValueError(f'token_stride {self.token_stride}: choose 1 or 3')
    is_rising = list(self.taps) == sorted(set(self.taps) - {0})
    if not is_rising or self.taps[-1:] != (self.num_blocks,):
      raise ValueError(
        f'taps {self.taps}: give numbers of blocks that rise to num_blocks '
        f'{self.num_blocks}'
      )
    if not self.stem_size % 2 or not self.block_size % 2:
      raise ValueError('stem_size and block_size must be odd')

  @property
  def vector_width(self) -> int:
    """Of the vectors that are quantised."""
    return self.code_width or self.width

  @property
  def is_projected(self) -> bool:
    """Whether a linear map makes a token's vector of the blocks' outputs."""
    return self.token_stride > 1 or self.code_width is not None

  @property
  def reach(self) -> int:
    """Bases to either side that a token of the last level depends on."""
    stem = 2 * (self.stem_size // 2)
    return stem + self.num_blocks * (self.block_size // 2)


class Block(nnx.Module):
  """x + down(gelu(up(norm(depthwise(x))))) (ConvNeXt, arXiv:2201.03545).

  The depthwise filter starts near the identity.
  """

  def __init__(self, config: NetworkConfig, *, rngs: nnx.Rngs):
    width, hidden = config.width, config.expansion * config.width
    self.convolution = ShortConvolution((width,), config.block_size, rngs=rngs)
    self.norm = LayerNorm(width)
    self.up = Linear(width, hidden, rngs=rngs)
    self.down = Linear(hidden, width, rngs=rngs)
    self.up_bias = nnx.Param(jnp.zeros(hidden))
    self.down_bias = nnx.Param(jnp.zeros(width))

  def __call__(
    self, x: Float[Array, 'B N D'], segment_ids: Int[Array, 'B N']
  ) -> Float[Array, 'B N D']:
    y = self.norm(self.convolution(x, segment_ids))
    y = jax.nn.gelu(self.up(y) + self.up_bias[...].astype(y.dtype))
    y = self.down(y) + self.down_bias[...].astype(y.dtype)
    return shard(x + y, 'batch', 'length', 'embed')


class Encoder(nnx.Module):
  """From bases to the vectors that each level quantises."""

  def __init__(self, config: NetworkConfig, *, key: PRNGKey):
    rngs = nnx.Rngs(key)
    size, inputs = config.stem_size, (config.token_stride, config.width)
    self.config = config
    self.stem = Convolution(NUM_CHANNELS, config.stem_width, size, rngs=rngs)
    self.stem_norm = LayerNorm(config.stem_width)
    self.widen = Convolution(config.stem_width, config.width, size, rngs=rngs)
    self.blocks = nnx.List(
      [Block(config, rngs=rngs) for _ in range(config.num_blocks)]
    )
    self.merges = nnx.List(
      [
        Linear(inputs, config.vector_width, rngs=rngs)
        for _ in config.taps
        if config.is_projected
      ]
    )

  def __call__(
    self, channels: Float[Array, 'B N 5'], segment_ids: Int[Array, 'B N']
  ) -> tuple[Float[Array, 'B T D'], ...]:
    x = jax.nn.gelu(self.stem_norm(self.stem(channels, segment_ids)))
    x = self.widen(x, segment_ids)
    taps = []
    for number, block in enumerate(self.blocks, 1):
      x = block(x, segment_ids)
      if number in self.config.taps:
        taps.append(x)
    if not self.merges:
      return tuple(taps)
    stride = self.config.token_stride
    rows, length, width = x.shape
    shape = rows, length // stride, stride, width
    return tuple(
      merge(tap.reshape(shape))
      for merge, tap in zip(self.merges, taps, strict=True)
    )


class Decoder(nnx.Module):
  """From the vectors of tokens to scores of A, C, G and T."""

  def __init__(self, config: NetworkConfig, *, key: PRNGKey):
    rngs = nnx.Rngs(key)
    size, outputs = config.stem_size, (config.token_stride, config.width)
    self.unmerge = (
      Linear(config.vector_width, outputs, rngs=rngs)
      if config.is_projected
      else None
    )
    self.blocks = nnx.List(
      [Block(config, rngs=rngs) for _ in range(config.num_blocks)]
    )
    self.narrow = Convolution(config.width, config.stem_width, size, rngs=rngs)
    self.narrow_norm = LayerNorm(config.stem_width)
    self.head = Convolution(config.stem_width, NUM_BASES, size, rngs=rngs)

  def __call__(
    self, tokens: Float[Array, 'B T D'], segment_ids: Int[Array, 'B N']
  ) -> Float[Array, 'B N 4']:
    x = tokens
    if self.unmerge is not None:
      x = self.unmerge(x).reshape(*segment_ids.shape, -1)
    for block in self.blocks:
      x = block(x, segment_ids)
    x = jax.nn.gelu(self.narrow_norm(self.narrow(x, segment_ids)))
    return self.head(x, segment_ids)


class Autoencoder(nnx.Module):
  """Encoder and decoder around a quantiser, whose codes are not parameters."""

  def __init__(self, config: NetworkConfig, *, key: PRNGKey):
    encoder, decoder = jax.random.split(key)
    self.encoder = Encoder(config, key=encoder)
    self.decoder = Decoder(config, key=decoder)

  def encode(
    self,
    sequence: Int[Array, 'B N'],
    segment_ids: Int[Array, 'B N'],
    is_hidden: Bool[Array, 'B N'] | None = None,
  ) -> tuple[Float[Array, 'B T D'], ...]:
    """The vectors that each level quantises.

    Args:
      sequence: A C G T = 0..3; anything else has no channel.
      segment_ids: 0 for padding; a segment starts and ends on a token.
      is_hidden: Bases that the encoder is told nothing of but that they are.
    """
    dtype = self.encoder.config.dtype
    bases = jax.nn.one_hot(sequence, NUM_BASES, dtype=dtype)
    if is_hidden is None:
      is_hidden = jnp.zeros_like(sequence, bool)
    is_hidden = is_hidden[..., None]
    bases = jnp.where(is_hidden, 0, bases)
    channels = jnp.concatenate([bases, is_hidden.astype(dtype)], axis=-1)
    return self.encoder(channels, segment_ids)

  def decode(
    self, tokens: Float[Array, 'B T D'], segment_ids: Int[Array, 'B N']
  ) -> Float[Array, 'B N 4']:
    """Scores of A, C, G and T, in float32."""
    tokens = tokens.astype(self.encoder.config.dtype)
    return self.decoder(tokens, segment_ids).astype(jnp.float32)
