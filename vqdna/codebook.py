"""One level of a vocabulary: codes that follow the vectors nearest to them.

A codebook is state without gradient (`aux` of an objective). After van den
Oord et al. (arXiv:1711.00937, appendix A.1): a code is the moving mean of the
vectors assigned to it. Arrays are global, so sums are over all devices and
draws are the same on each.
"""

import dataclasses
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from backbone.array_types import Array, Bool, Float, Int, PRNGKey

Start = Literal['kmeans', 'data', 'uniform']


class Codebook(NamedTuple):
  """Q codes, and the moving sums that they are quotients of.

  Attributes:
    codes: The vectors that tokens are replaced by.
    counts: Moving number of vectors a code was assigned in a batch.
    sums: Moving sum of those vectors.
  """

  codes: Float[Array, 'Q D']
  counts: Float[Array, 'Q']
  sums: Float[Array, 'Q D']


@dataclasses.dataclass(frozen=True)
class CodebookConfig:
  """How a codebook starts, follows, and stays alive.

  VQDNA has 512 codes and a moving average; its decay and whether dead codes
  come back are unknown (defaults are ours, or usual).

  Attributes:
    size: Q.
    decay: Of the moving sums; 0.99 is usual.
    epsilon: Added to the counts (Laplace), which keeps quotients finite.
    revive_share: A code with less than this share of an even moving count is
      put on a vector of the batch; 0 never.
    start: On vectors of the first batch, on their k-means, or at random.
    kmeans_iterations: Of that.
  """

  size: int = 512
  decay: float = 0.99
  epsilon: float = 1e-5
  revive_share: float = 0.25
  start: Start = 'kmeans'
  kmeans_iterations: int = 10

  def __post_init__(self):
    if self.size < 2:
      raise ValueError(f'size {self.size}: a codebook has two codes or more')
    if not 0 <= self.decay < 1:
      raise ValueError(f'decay {self.decay} is not in [0, 1)')
    if self.epsilon <= 0:
      raise ValueError(f'epsilon {self.epsilon} is not above 0')
    if not 0 <= self.revive_share < 1:
      raise ValueError(f'revive_share {self.revive_share} is not in [0, 1)')
    if self.start not in get_args(Start):
      raise ValueError(f'start {self.start!r} is none of {get_args(Start)}')


def initial(config: CodebookConfig, width: int, key: PRNGKey) -> Codebook:
  """Random codes, each of which stands for one vector.

  Uniform within the bound of He et al. (arXiv:1502.01852) for Q inputs.
  """
  bound = (6 / config.size) ** 0.5
  shape = (config.size, width)
  codes = jax.random.uniform(key, shape, jnp.float32, -bound, bound)
  return Codebook(codes, jnp.ones(config.size), codes)


def nearest(
  codes: Float[Array, 'Q D'], vectors: Float[Array, 'B T D']
) -> Int[Array, 'B T']:
  """Index of the code with the least squared distance, in float32."""
  vectors, codes = vectors.astype(jnp.float32), codes.astype(jnp.float32)
  # |v|² is the same for all codes.
  product = jnp.einsum(
    'btd,qd->btq', vectors, codes, precision=jax.lax.Precision.HIGHEST
  )
  return jnp.argmin(jnp.square(codes).sum(-1) - 2 * product, axis=-1)


def follow(
  config: CodebookConfig,
  codebook: Codebook,
  vectors: Float[Array, 'B T D'],
  ids: Int[Array, 'B T'],
  is_real: Bool[Array, 'B T'],
) -> Codebook:
  """Moves every code towards the mean of the vectors assigned to it.

  Codes are sums over smoothed counts, which have the same total.
  """
  new_counts, new_sums = _assigned(vectors, ids, is_real, config.size)
  new = 1 - config.decay
  counts = codebook.counts + new * (new_counts - codebook.counts)
  sums = codebook.sums + new * (new_sums - codebook.sums)
  total = counts.sum()
  smoothed = (counts + config.epsilon) / (total + config.size * config.epsilon)
  return Codebook(sums / (smoothed * total)[:, None], counts, sums)


def revive(
  config: CodebookConfig,
  codebook: Codebook,
  vectors: Float[Array, 'B T D'],
  is_real: Bool[Array, 'B T'],
  key: PRNGKey,
) -> Codebook:
  """Puts codes that are hardly assigned on vectors of the batch, each its own.

  Their moving sums start anew, at the count below which a code is dead: it
  lives for a batch, and longer if it is assigned. Codes for which the batch
  has no vector wait for the next.
  """
  below = config.revive_share * codebook.counts.mean()
  is_dead = codebook.counts < below
  drawn, num_real = _draw(vectors, is_real, config.size, key)
  rank = jnp.cumsum(is_dead) - 1
  is_revived = is_dead & (rank < num_real)
  codes = drawn[jnp.maximum(rank, 0)]

  def put(new: Array, old: Array) -> Array:
    at = is_revived.reshape(-1, *(1,) * (old.ndim - 1))
    return jnp.where(at, new, old)

  return Codebook(
    put(codes, codebook.codes),
    put(jnp.full_like(codebook.counts, below), codebook.counts),
    put(codes * below, codebook.sums),
  )


def start(
  config: CodebookConfig,
  codebook: Codebook,
  vectors: Float[Array, 'B T D'],
  is_real: Bool[Array, 'B T'],
  key: PRNGKey,
) -> Codebook:
  """The codebook of the first batch, before anything was assigned.

  Where the batch has fewer vectors than there are codes, some are used again.
  """
  if config.start == 'uniform':
    return codebook
  drawn, num_real = _draw(vectors, is_real, config.size, key)
  codes = drawn[jnp.arange(config.size) % jnp.maximum(num_real, 1)]
  if config.start == 'data':
    return Codebook(codes, jnp.ones(config.size), codes)

  def improve(_, book: Codebook) -> Codebook:
    """Means of what is nearest; a code without a vector stays where it is."""
    ids = nearest(book.codes, vectors)
    counts, sums = _assigned(vectors, ids, is_real, config.size)
    means = sums / jnp.maximum(counts, 1)[:, None]
    codes = jnp.where(counts[:, None] > 0, means, book.codes)
    return Codebook(codes, counts, sums)

  book = Codebook(codes, jnp.zeros(config.size), jnp.zeros_like(codes))
  book = jax.lax.fori_loop(0, config.kmeans_iterations, improve, book)
  counts = jnp.maximum(book.counts, 1)
  return Codebook(book.codes, counts, book.codes * counts[:, None])


def _assigned(
  vectors: Float[Array, 'B T D'],
  ids: Int[Array, 'B T'],
  is_real: Bool[Array, 'B T'],
  size: int,
) -> tuple[Float[Array, 'Q'], Float[Array, 'Q D']]:
  """How many vectors each code was assigned, and their sum."""
  is_code = jax.nn.one_hot(ids, size) * is_real[..., None]
  sums = jnp.einsum(
    'btq,btd->qd',
    is_code,
    vectors.astype(jnp.float32),
    precision=jax.lax.Precision.HIGHEST,
  )
  return is_code.sum((0, 1)), sums


def _draw(
  vectors: Float[Array, 'B T D'],
  is_real: Bool[Array, 'B T'],
  num: int,
  key: PRNGKey,
) -> tuple[Float[Array, 'Q D'], Int[Array, '']]:
  """`num` vectors without repetition, and how many of them are real.

  Real ones come first; where the batch is smaller, the rest is the last again.
  """
  noise = jnp.where(is_real, jax.random.uniform(key, is_real.shape), -1.0)
  available = min(num, is_real.size)
  order = jax.lax.top_k(noise.reshape(-1), available)[1]
  order = order[jnp.minimum(jnp.arange(num), available - 1)]
  row, column = jnp.unravel_index(order, is_real.shape)
  num_real = jnp.minimum(is_real.sum(), available)
  return vectors[row, column].astype(jnp.float32), num_real
