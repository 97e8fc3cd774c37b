"""Softmax attention of a sequence that is split over devices, as a ring.

Keys, values and segments travel from device to device; what each round adds is
merged by its log-sum-exp (Liu et al., arXiv:2310.01889). The backward pass is a
ring too, in which gradients of keys and values travel with them. A device holds
its share of the sequence and one visitor, never the whole.

The rounds run `xla.forward` and `xla.backward`: JAX's splash attention has no
log-sum-exp that can be differentiated in its public interface.
"""

import functools

import jax
import jax.numpy as jnp
from einops import rearrange, repeat

from backbone.array_types import Array, Float, Int
from backbone.kernels.attention import xla
from backbone.kernels.attention.blocks import (
  NOTHING_SEEN,
  Blocks,
  Sequences,
)


def attention(
  query: Float[Array, 'B T H K'],
  key: Float[Array, 'B T H K'],
  value: Float[Array, 'B T H V'],
  segment_ids: Int[Array, 'B T'],
  window: int | None,
  *,
  axis: str | tuple[str, ...],
  blocks: Blocks | None = None,
) -> Float[Array, 'B T H V']:
  """`reference.attention` of a device's share, within a `jax.shard_map`.

  Args:
    axis: Mesh axes that split the sequence.
    blocks: By default `Blocks.by_default`.
  """
  batch, length, num_heads, _ = query.shape
  blocks = blocks or Blocks.by_default(batch * num_heads, length)
  inputs = Sequences(
    xla.by_head(query) * query.shape[-1] ** -0.5,
    # In their own type: half the bytes to send where that is bfloat16.
    *(rearrange(x, 'b t h k -> (b h) t k') for x in (key, value)),
    repeat(segment_ids, 'b t -> (b h) t', h=num_heads),
    segment_ids,
  )
  output = _attend(window, blocks, axis, inputs)
  output = rearrange(output, '(b h) t v -> b t h v', b=batch)
  return output.astype(value.dtype)


def num_rounds(length: int, window: int | None, num_devices: int) -> int:
  """Of `length` tokens a device; as few as a window needs, to both sides."""
  if window is None:
    return num_devices
  return min(2 * -(-window // length) + 1, num_devices)


def _rounds(length: int, window: int | None, axis) -> tuple[int, int]:
  """How far the first visitor travels, and how many visitors there are."""
  num_devices = jax.lax.axis_size(axis)
  count = num_rounds(length, window, num_devices)
  return (0 if count == num_devices else -(count // 2)), count


def _send(x, distance: int, axis):
  """To the device `distance` further on, around the end."""
  size = jax.lax.axis_size(axis)
  if distance % size == 0:
    return x
  pairs = [(i, (i + distance) % size) for i in range(size)]
  return jax.tree.map(lambda x: jax.lax.ppermute(x, axis, pairs), x)


def _visited(inputs: Sequences, visitor, distance, axis):
  """Inputs of one round, and the visitor's offset; it came `distance` far."""
  key, value, key_segments = visitor
  size, here = jax.lax.axis_size(axis), jax.lax.axis_index(axis)
  offset = (here - (here - distance) % size) * key.shape[1]
  visited = inputs._replace(
    key=key.astype(jnp.float32),
    value=value.astype(jnp.float32),
    key_segments=jnp.repeat(
      key_segments, key.shape[0] // key_segments.shape[0], axis=0
    ),
  )
  return visited, offset


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _attend(window, blocks, axis, inputs):
  return _attend_forward(window, blocks, axis, inputs)[0]


def _attend_forward(window, blocks, axis, inputs: Sequences):
  length = inputs.key.shape[1]
  first, count = _rounds(length, window, axis)

  def one_round(carry, distance):
    visitor, output, log_total = carry
    # Sent before it is used, so that it travels while the device computes.
    following = _send(visitor, 1, axis)
    visited, offset = _visited(inputs, visitor, distance, axis)
    part, log_part = xla.forward(visited, window, blocks, offset)
    now = jnp.logaddexp(log_total, log_part)
    output *= jnp.exp(log_total - now)[..., None]
    output += jnp.exp(log_part - now)[..., None] * part
    return (following, output, now), None

  visitor = inputs.key, inputs.value, inputs.key_segments
  shape = (*inputs.query.shape[:2], inputs.value.shape[-1])
  begin = (
    _send(visitor, first, axis),
    jnp.zeros(shape),
    jnp.full(shape[:-1], NOTHING_SEEN),
  )
  distances = first + jnp.arange(count)
  (_, output, log_total), _ = jax.lax.scan(one_round, begin, distances)
  return output, (inputs, output, log_total)


def _attend_backward(window, blocks, axis, residuals, d_output):
  inputs, output, log_total = residuals
  shared = jnp.sum(output * d_output, -1)
  first, count = _rounds(inputs.key.shape[1], window, axis)

  def one_round(carry, distance):
    visitor, gradients, dq = carry
    following = _send(visitor, 1, axis)
    visited, offset = _visited(inputs, visitor, distance, axis)
    more_dq, *more = xla.backward(
      visited, log_total, shared, d_output, window, blocks, offset
    )
    gradients = [x + y for x, y in zip(gradients, more, strict=True)]
    return (following, _send(gradients, 1, axis), dq + more_dq), None

  visitor = inputs.key, inputs.value, inputs.key_segments
  zeros = [jnp.zeros(x.shape) for x in visitor[:2]]
  begin = (
    _send(visitor, first, axis),
    zeros,
    jnp.zeros(inputs.query.shape),
  )
  distances = first + jnp.arange(count)
  (_, gradients, dq), _ = jax.lax.scan(one_round, begin, distances)
  dk, dv = _send(gradients, -(first + count), axis)
  dk, dv = dk.astype(inputs.key.dtype), dv.astype(inputs.value.dtype)
  return (Sequences(dq, dk, dv, None, None),)


_attend.defvjp(_attend_forward, _attend_backward)
