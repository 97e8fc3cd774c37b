"""Codes without a codebook: every coordinate rounded to a few levels."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from backbone.array_types import Array, Bool, Float, PRNGKey
from vqdna.gradients import straight_through
from vqdna.quantizers import Quantised, level_health, mean_square

# By how much the bound is wider than the outermost level, which is then
# reached by finite numbers.
_MARGIN = 1e-3


@dataclasses.dataclass(frozen=True)
class FiniteScalar:
  """Finite scalar quantisation (Mentzer et al., arXiv:2309.15505, section 3).

  Cannot collapse by construction, and has no state and no commitment: the
  control that tells what the codebooks of VQDNA earn. It has one level of
  codes, and the network's `code_width` is the number of coordinates.

  Attributes:
    levels: Values of each coordinate; 8 x 5 x 5 x 5 are 1,000 codes, the
      paper's choice for about 2^10.
  """

  levels: tuple[int, ...] = (8, 5, 5, 5)

  def __post_init__(self):
    if not self.levels or min(self.levels) < 2:
      raise ValueError(
        f'levels {self.levels}: give two values or more for each coordinate'
      )

  @property
  def sizes(self) -> tuple[int, ...]:
    """The number of codes."""
    return (math.prod(self.levels),)

  def init(self, width: int, key: PRNGKey) -> tuple[()]:
    """No state.

    Raises:
      ValueError: The vectors are of another width than there are coordinates.
    """
    del key
    if width != len(self.levels):
      raise ValueError(
        f'vectors of width {width} for {len(self.levels)} coordinates: set the '
        f'code_width of the network to {len(self.levels)}'
      )
    return ()

  def __call__(
    self,
    taps: tuple[Float[Array, 'B T D'], ...],
    vocabulary: tuple[()],
    is_real: Bool[Array, 'B T'],
    key: PRNGKey,
    *,
    train: bool,
  ) -> Quantised:
    """Rounds; the commitment is 0."""
    del key, train
    (vectors,) = taps
    bounded = self._bound(vectors.astype(jnp.float32))
    rounded = jnp.round(bounded)
    half = self._half
    numbers = (jax.lax.stop_gradient(rounded) + half).astype(jnp.int32)
    ids = (numbers * self._strides).sum(-1)
    distance = mean_square((bounded - rounded) / half, is_real)
    health = level_health(self.sizes[0], ids, distance, bounded / half, is_real)
    return Quantised(
      straight_through(bounded, rounded) / half,
      (ids,),
      jnp.zeros(()),
      vocabulary,
      {f'level1/{name}': value for name, value in health.items()},
    )

  def codes(self, vocabulary: tuple[()], level: int) -> Float[Array, 'Q D']:
    """The coordinates of all codes, in [-1, 1]."""
    del vocabulary
    ids = np.arange(self.sizes[level])[:, None]
    numbers = ids // self._strides % np.asarray(self.levels)
    return jnp.asarray((numbers - self._half) / self._half, jnp.float32)

  @property
  def _half(self) -> np.ndarray:
    return np.asarray(self.levels) // 2

  @property
  def _strides(self) -> np.ndarray:
    return np.cumprod((1, *self.levels[:-1]))

  def _bound(self, x: Float[Array, 'B T D']) -> Float[Array, 'B T D']:
    """Within half a level of the outermost; even numbers of levels shifted."""
    levels = np.asarray(self.levels)
    half = (levels - 1) * (1 + _MARGIN) / 2
    offset = np.where(levels % 2, 0.0, 0.5)
    shift = np.arctanh(offset / half)
    return jnp.tanh(x + shift) * half - offset
