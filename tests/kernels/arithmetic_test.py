"""Operations counted in traced programs."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax.experimental import pallas as pl
from jax.sharding import PartitionSpec as P

from backbone import sharding
from backbone.kernels.arithmetic import as_specified, operations
from backbone.kernels.attention.api import attention
from backbone.kernels.gated_delta.api import gated_delta

X, K = jnp.zeros((6, 8, 16)), jnp.zeros((16, 32))


def count(function, *arguments):
  return operations(jax.make_jaxpr(function)(*arguments).jaxpr)


def test_products_count_twice_their_terms():
  assert count(lambda x, k: x @ k, X, K) == 2 * 6 * 8 * 16 * 32
  # Batched over the first axis.
  assert count(lambda x: x @ x.swapaxes(1, 2), X) == 2 * 6 * 8 * 8 * 16
  assert count(lambda x: jnp.sin(x) + 1, X) == 0


def test_a_gradient_has_three_times_as_many():
  loss = jax.grad(lambda x, k: jnp.square(x @ k).sum(), argnums=(0, 1))
  assert count(loss, X, K) == 3 * 2 * 6 * 8 * 16 * 32


def test_a_scan_counts_its_trips_and_a_branch_once():
  def scanned(x):
    step = lambda c, _: (c @ jnp.zeros((16, 16)), None)  # noqa: E731
    return jax.lax.scan(step, x, None, length=5)[0]

  assert count(scanned, X) == 5 * 2 * 6 * 8 * 16 * 16

  def either(x):
    yes = lambda x: x @ jnp.zeros((16, 16))  # noqa: E731
    return jax.lax.cond(x.sum() > 0, yes, lambda x: x, x)

  assert count(either, X) == 2 * 6 * 8 * 16 * 16


def test_a_convolution_counts_its_taps():
  kernel = jnp.zeros((5, 16, 32))
  convolve = functools.partial(
    jax.lax.conv_general_dilated,
    window_strides=(1,),
    padding='SAME',
    dimension_numbers=('NWC', 'WIO', 'NWC'),
  )
  assert count(convolve, X, kernel) == 2 * 6 * 8 * 32 * 5 * 16
  # One channel in each group.
  by_channel = functools.partial(convolve, feature_group_count=16)
  assert count(by_channel, X, kernel[:, :1, :16]) == 2 * 6 * 8 * 16 * 5


def test_devices_add_up():
  mesh = sharding.make_mesh(data=2, devices=jax.devices()[:2])

  def product(x, k):
    return jax.shard_map(
      jnp.matmul, mesh=mesh, in_specs=(P('data'), P()), out_specs=P('data')
    )(x, k)

  assert count(product, X, K) == 2 * 6 * 8 * 16 * 32


def test_kernels_count_as_their_references():
  batch, length, heads, width = 2, 64, 2, 16
  q = jnp.zeros((batch, length, heads, width))

  def attended(q, k, v):
    return attention(q, k, v).sum()

  with as_specified():
    found = count(jax.grad(attended, argnums=(0, 1, 2)), q, q, q)
  # Two products, each with two in the backward pass.
  assert found == 3 * 2 * 2 * batch * heads * length**2 * width
  gate = jnp.zeros((batch, length, heads))
  with as_specified():
    found = count(lambda *given: gated_delta(*given), q, q, q, gate, gate)
  # Reading, writing and asking a state of width x width for every token.
  assert found == 3 * 2 * batch * length * heads * width**2


def test_a_kernel_is_refused():
  def copy(x):
    def kernel(x_ref, y_ref):
      y_ref[...] = x_ref[...]

    shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
    return pl.pallas_call(kernel, out_shape=shape, interpret=True)(x)

  with pytest.raises(ValueError, match='pallas_call: trace the reference'):
    count(copy, X)


def test_recomputation_can_be_left_out():
  def counted():
    # A new function each time: what is traced is remembered.
    def gradient(x, k):
      layer = jax.checkpoint(lambda x: jnp.sin(jnp.sin(x @ k) @ k.T))
      return jax.value_and_grad(lambda x: layer(x).sum())(x)

    return count(gradient, X, K)

  once = 2 * 6 * 8 * 16 * 32
  with as_specified():
    assert counted() == 4 * once
  assert counted() > 4 * once
