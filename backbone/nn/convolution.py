"""Convolutions that never cross a segment border."""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

from backbone.array_types import Array, Float, Int
from backbone.nn.linear import Linear

Side = Literal['symmetric', 'past', 'future']


def shift(
  x: Float[Array, 'B T ...'], segment_ids: Int[Array, 'B T'], offset: int
) -> Float[Array, 'B T ...']:
  """x[t + offset], zero where that lies outside the segment of t."""
  if offset == 0:
    return x
  is_same = _move(segment_ids, offset, fill=-1) == segment_ids
  is_same = is_same.reshape(is_same.shape + (1,) * (x.ndim - 2))
  return _move(x, offset, fill=0) * is_same.astype(x.dtype)


def _move(x: Array, offset: int, *, fill: int) -> Array:
  """x[t + offset] along the second axis, `fill` outside.

  One concatenation: XLA on CPU writes out a pad, its slice and a select apart.
  """
  distance = min(abs(offset), x.shape[1])
  edge = jnp.full((x.shape[0], distance, *x.shape[2:]), fill, x.dtype)
  if offset > 0:
    return jnp.concatenate([x[:, distance:], edge], axis=1)
  return jnp.concatenate([edge, x[:, : x.shape[1] - distance]], axis=1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def largest(x: Float[Array, 'B T D'], num: int) -> Float[Array, 'B U D']:
  """The maximum over each `num` vectors that follow each other.

  Vectors that share it share its gradient, as those of `max` do; XLA on CPU
  takes about twice as long for the one that autodiff writes.
  """
  return _groups(x, num).max(2)


def _largest_forward(x, num):
  found = largest(x, num)
  return found, (x, found)


def _largest_backward(num, residuals, gradient):
  x, found = residuals
  is_found = _groups(x, num) == found[:, :, None]
  share = gradient / is_found.sum(2).astype(x.dtype)
  return (jnp.where(is_found, share[:, :, None], 0).reshape(x.shape),)


largest.defvjp(_largest_forward, _largest_backward)


def _groups(x: Array, num: int) -> Array:
  rows, length, width = x.shape
  return x.reshape(rows, length // num, num, width)


@jax.custom_vjp
def _scale(
  x: Float[Array, 'B T ...'], scale: Float[Array, '...']
) -> Float[Array, 'B T ...']:
  """x * scale.

  Its gradient sums over both axes at once: autodiff leaves out a batch of one,
  and XLA on CPU then takes 70 times as long (docs/benchmarks.md).
  """
  return x * scale


def _scale_forward(x, scale):
  return x * scale, (x, scale)


def _scale_backward(residuals, dy):
  x, scale = residuals
  return dy * scale, (x * dy).sum((0, 1))


_scale.defvjp(_scale_forward, _scale_backward)


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
      _scale(shift(x, segment_ids, first + i), kernel[i])
      for i in range(self.size)
    )
    return x + sum(taps)


class Convolution(nnx.Module):
  """A filter over all channels, `size` (odd) vectors wide, with a bias.

  With a stride the filters stand on the middle of each so many vectors.
  """

  def __init__(
    self,
    inputs: int,
    outputs: int,
    size: int,
    *,
    stride: int = 1,
    rngs: nnx.Rngs,
  ):
    self.reach = size // 2
    self.stride = stride
    self.projection = Linear((size, inputs), outputs, rngs=rngs)
    self.bias = nnx.Param(jnp.zeros(outputs))

  def __call__(
    self, x: Float[Array, 'B N _'], segment_ids: Int[Array, 'B N']
  ) -> Float[Array, 'B M _']:
    offsets = range(-self.reach, self.reach + 1)
    first = self.stride // 2
    windows = jnp.stack(
      [shift(x, segment_ids, i)[:, first :: self.stride] for i in offsets],
      axis=2,
    )
    return self.projection(windows) + self.bias[...].astype(x.dtype)
