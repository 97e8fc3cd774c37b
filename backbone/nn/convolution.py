"""Short depthwise convolution that never crosses a segment border."""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

from backbone.array_types import Array, Float, Int

Side = Literal['symmetric', 'past', 'future']


def shift(
  x: Float[Array, 'B T ...'], segment_ids: Int[Array, 'B T'], offset: int
) -> Float[Array, 'B T ...']:
  """x[t + offset], zero where that lies outside the segment of t."""
  if offset == 0:
    return x
  length = x.shape[1]
  padding = [(max(-offset, 0), max(offset, 0)), *[(0, 0)] * (x.ndim - 2)]

  def move(y, fill):
    y = jnp.pad(y, [(0, 0), *padding[: y.ndim - 1]], constant_values=fill)
    return jax.lax.slice_in_dim(
      y, max(offset, 0), max(offset, 0) + length, axis=1
    )

  is_same = move(segment_ids, -1) == segment_ids
  is_same = is_same.reshape(is_same.shape + (1,) * (x.ndim - 2))
  return jnp.where(is_same, move(x, 0), 0)


class ShortConvolution(nnx.Module):
  """A filter of `size` taps per channel, starting as the identity.

  Channels are the trailing axes, e.g. (H, K).
  """

  def __init__(self, channels: tuple[int, ...], size: int, *, rngs: nnx.Rngs):
    """Draws the taps around a centre of 1, so that depth starts harmless."""
    noise = jax.random.normal(rngs.params(), (size, *channels))
    self.kernel = nnx.Param(noise / size)
    self.size = size

  def __call__(
    self,
    x: Float[Array, 'B T ...'],
    segment_ids: Int[Array, 'B T'],
    side: Side = 'symmetric',
  ) -> Float[Array, 'B T ...']:
    """Filters along T.

    Args:
      side: 'symmetric' looks at both sides ("same"), 'past' and 'future' at
        one, the token included.
    """
    first = {'past': 1 - self.size, 'future': 0}.get(side, -(self.size // 2))
    kernel = self.kernel[...].astype(x.dtype)
    taps = (
      shift(x, segment_ids, first + i) * kernel[i] for i in range(self.size)
    )
    return x + sum(taps)
