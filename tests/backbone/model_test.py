"""The backbone: packing, directions, sizes, sharding."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from backbone import sharding
from backbone.model import PRESETS, Backbone, BackboneConfig, preset
from backbone.nn.affine import add_bias, affine
from backbone.nn.convolution import ShortConvolution, largest, shift
from backbone.nn.norm import RMSNorm, l2_normalize
from tests.tolerance import assert_close

TINY = BackboneConfig(
  pattern=('delta', 'local', 'attention'),
  num_super_blocks=2,
  width=32,
  hidden=48,
  num_heads=2,
  window=20,
  delta_heads=4,
  delta_key_width=8,
  delta_value_width=16,
)


def make(config=TINY):
  return Backbone(config, key=jax.random.key(0))


def vectors(length, width=32, rows=2):
  rng = np.random.default_rng(length)
  return jnp.asarray(rng.normal(size=(rows, length, width)), jnp.float32)


def run(model, x, segment_ids=None):
  """Applies the model, compiled once per structure and shape."""
  graph, params = nnx.split(model)
  if segment_ids is None:
    segment_ids = jnp.ones(x.shape[:2], jnp.int32)
  return apply(graph, params, x, segment_ids)


@functools.partial(jax.jit, static_argnums=0)
def apply(graph, params, x, segment_ids):
  starts = segment_ids[:, 1:] != segment_ids[:, :-1]
  index = jnp.arange(x.shape[1])
  last = jax.lax.cummax(
    jnp.where(jnp.pad(starts, ((0, 0), (1, 0))), index, 0), axis=1
  )
  return nnx.merge(graph, params)(x, segment_ids, index - last)


@pytest.mark.parametrize('convolution', ['symmetric', 'causal'])
def test_a_packed_segment_equals_the_segment_alone(convolution):
  model = make(dataclasses.replace(TINY, convolution=convolution))
  x = vectors(70)
  segment_ids = jnp.asarray([[1] * 26 + [2] * 37 + [0] * 7] * 2, jnp.int32)
  together = run(model, x, segment_ids)
  for part in (slice(0, 26), slice(26, 63)):
    alone = run(model, x[:, part])
    assert_close(together[:, part], alone, dtype=jnp.float32, length=70)


def test_every_token_sees_both_sides():
  model = make(dataclasses.replace(TINY, pattern=('delta',)))
  x = vectors(40)
  before = run(model, x)
  changed = np.abs(run(model, x.at[:, 20].add(1.0)) - before).max((0, 2))
  assert (changed[:20] > 0).all() and (changed[21:] > 0).all()


def test_head_split_has_the_weights_of_one_direction():
  """6 D² a delta mixer, 4 D² an attention mixer, and small change."""
  config = preset('350m')
  model = nnx.eval_shape(lambda: make(config))
  sizes = {
    sharding.path_name(path): leaf.size
    for path, leaf in jax.tree_util.tree_leaves_with_path(nnx.state(model))
  }
  width = config.width
  kernels = ('heads_in', 'heads_out')
  mixers = sum(
    size
    for name, size in sizes.items()
    if name.endswith(tuple(f'/{kernel}/kernel' for kernel in kernels))
  )
  assert mixers == (20 * 6 + 4 * 4) * width**2
  assert 340e6 < sum(sizes.values()) < 360e6


@pytest.mark.parametrize('size', list(PRESETS))
def test_presets_have_the_size_of_their_name(size):
  model = nnx.eval_shape(lambda: make(PRESETS[size]))
  count = sum(x.size for x in jax.tree.leaves(nnx.state(model)))
  named = float(size.removesuffix('m')) * 1e6
  assert abs(count / named - 1) < 0.15


def test_remat_changes_no_gradient():
  x = vectors(30)

  def gradient(remat):
    config = dataclasses.replace(TINY, pattern=('delta',), remat=remat)
    graph, params = nnx.split(make(config))

    def loss(params):
      return jnp.sum(run(nnx.merge(graph, params), x) ** 2)

    return jax.jit(jax.grad(loss))(params)

  plain, recomputed = gradient('none'), gradient('block')
  for a, b in zip(
    jax.tree.leaves(plain), jax.tree.leaves(recomputed), strict=True
  ):
    assert_close(a, b, dtype=jnp.float32, length=30 * 32)


def test_bad_shapes_are_refused():
  # The type checker of the tests may refuse it before the constructor does.
  with pytest.raises(Exception, match='mamba'):
    BackboneConfig(pattern=('mamba',))
  with pytest.raises(ValueError, match='even'):
    BackboneConfig(delta_heads=3)
  with pytest.raises(ValueError, match='no preset'):
    preset('2m')


def test_kernels_stay_sharded():
  """On data 4 x model 2, no input of a kernel is gathered."""
  mesh = sharding.make_mesh(data=4, model=2)
  graph, params = nnx.split(make())
  x = vectors(64, rows=8)
  expected = run(nnx.merge(graph, params), x)
  with jax.set_mesh(mesh):
    step = jax.jit(
      lambda params, x: run(nnx.merge(graph, params), x),
      in_shardings=(
        sharding.param_specs(params, mesh),
        sharding.batch_sharding(mesh),
      ),
    )
    compiled = step.lower(params, x).compile()
    actual = step(params, x)
  assert 'all-gather' not in compiled.as_text()
  assert_close(actual, expected, dtype=jnp.float32, length=64 * 32)


@pytest.mark.parametrize('offset', [-2, -1, 0, 1, 2])
def test_shift_stops_at_segment_borders(offset):
  x = jnp.arange(1.0, 8.0)[None, :, None]
  segment_ids = jnp.asarray([[1, 1, 1, 2, 2, 2, 2]])
  moved = np.asarray(shift(x, segment_ids, offset))[0, :, 0]
  for t in range(7):
    source = t + offset
    is_inside = 0 <= source < 7 and (source < 3) == (t < 3)
    assert moved[t] == (source + 1 if is_inside else 0)


def test_symmetric_convolution_commutes_with_reversal():
  layer = ShortConvolution((4,), 3, rngs=nnx.Rngs(0))
  layer.kernel = nnx.Param(layer.kernel[...][::-1] + layer.kernel[...])
  x, segment_ids = vectors(9, 4), jnp.ones((2, 9), jnp.int32)
  there = layer(x, segment_ids)
  back = layer(x[:, ::-1], segment_ids)[:, ::-1]
  assert_close(there, back, dtype=jnp.float32, length=9)


@pytest.mark.parametrize('rows', [1, 2])
def test_convolution_is_the_sum_of_its_taps(rows):
  """Values and gradients; a batch of one takes a path of its own."""
  layer = ShortConvolution((4,), 3, rngs=nnx.Rngs(0))
  x, segment_ids = vectors(9, 4, rows), jnp.ones((rows, 9), jnp.int32)

  def plain(kernel, x):
    padded = jnp.pad(x, ((0, 0), (1, 1), (0, 0)))
    return x + sum(padded[:, i : i + 9] * kernel[i] for i in range(3))

  def ours(kernel, x):
    graph, params = nnx.split(layer)
    params['kernel'] = params['kernel'].replace(kernel)
    return nnx.merge(graph, params)(x, segment_ids)

  def results(f):
    total = lambda kernel, x: jnp.sum(jnp.sin(f(kernel, x)))  # noqa: E731
    kernel = layer.kernel[...]
    return f(kernel, x), *jax.grad(total, argnums=(0, 1))(kernel, x)

  for actual, expected in zip(results(ours), results(plain), strict=True):
    assert_close(actual, expected, dtype=jnp.float32, length=9 * rows)


@pytest.mark.parametrize('num', [1, 3, 8])
def test_largest_is_the_maximum_and_ties_share_its_gradient(num):
  # Whole numbers: many are equal.
  x = jnp.round(jax.random.normal(jax.random.key(0), (2, 24, 5)))

  def score(found):
    return jnp.square(found - 1).sum()

  def expected(x):
    return score(x.reshape(2, -1, num, 5).max(2))

  def got(x):
    return score(largest(x, num))

  np.testing.assert_array_equal(got(x), expected(x))
  found, wanted = jax.grad(got)(x), jax.grad(expected)(x)
  np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_norms_treat_one_row_as_they_treat_many():
  x, norm = vectors(9, 4), RMSNorm(4)
  for normalize in (norm, l2_normalize):
    alone = jnp.concatenate([normalize(row[None]) for row in x])
    assert_close(alone, normalize(x), dtype=jnp.float32, length=4)
    assert normalize(x[:1]).shape == (1, 9, 4)


def test_attention_masks_are_not_stored():
  """Memory of a gradient through the stack grows with length, not its square.

  Without `_tie` in the attention kernel twice the length takes 2.4 times.
  """
  config = dataclasses.replace(TINY, pattern=('attention',))
  graph, params = nnx.split(make(config))

  def memory(length):
    ones = jnp.ones((1, length), jnp.int32)

    def total(params, x):
      return jnp.sum(nnx.merge(graph, params)(x, ones, ones))

    run = jax.jit(jax.grad(total)).lower(params, jnp.zeros((1, length, 32)))
    return run.compile().memory_analysis().temp_size_in_bytes

  assert memory(2_048) / memory(1_024) < 2.1


@pytest.mark.parametrize('rows', [(), (3,), (2, 5)])
def test_channels_are_scaled_and_moved_with_the_gradients_of_plain_code(rows):
  keys = jax.random.split(jax.random.key(0), 4)
  x, weight = (jax.random.normal(key, (*rows, 4)) for key in keys[:2])
  scale, offset = (jax.random.normal(key, (4,)) for key in keys[2:])

  def score(scaled, moved):
    def of(x, scale, offset):
      return (weight * scaled(jnp.tanh(moved(x, offset)), scale, offset)).sum()

    return jax.value_and_grad(of, argnums=(0, 1, 2))(x, scale, offset)

  wanted = score(lambda x, s, o: x * s + o, lambda x, o: x + o)
  np.testing.assert_allclose(score(affine, add_bias)[0], wanted[0], rtol=1e-6)
  for one, other in zip(score(affine, add_bias)[1], wanted[1], strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
