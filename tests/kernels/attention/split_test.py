"""Attention of a sequence that is split over devices equals that of a whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from backbone.kernels.attention import api, pallas_tpu, ring
from tests.kernels.attention.forms_test import (
  NAMES,
  RUN_HERE,
  value_and_gradients,
)
from tests.kernels.gated_delta.forms_test import packed
from tests.tolerance import assert_close

AXES = ('data', 'seq', 'model')
SPLIT = P('data', 'seq', 'model')


def make_mesh(data, seq, model):
  shape = (data, seq, model)
  devices = jax.devices()[: data * seq * model]
  return jax.make_mesh(shape, AXES, (AxisType.Auto,) * 3, devices=devices)


def make_inputs(length, num_heads, dtype=jnp.float32):
  rng = np.random.default_rng(length)
  widths = {'query': 16, 'key': 16, 'value': 24}
  return {
    name: jnp.asarray(rng.normal(size=(2, length, num_heads, width)), dtype)
    for name, width in widths.items()
  }


def compare(mesh, inputs, implementation=None, **options):
  """Segments cross the borders of shards, and end in padding."""
  length = inputs['query'].shape[1]
  options['segment_ids'] = packed(length)
  exact = {n: x.astype(jnp.float32) for n, x in inputs.items()}
  expected = value_and_gradients(exact, 'reference', **options)
  with jax.set_mesh(mesh):
    placed = jax.device_put(inputs, NamedSharding(mesh, P(*SPLIT, None)))
    actual = value_and_gradients(
      placed, implementation, partition=SPLIT, **options
    )
  dtype = inputs['query'].dtype
  for name, value in expected.items():
    assert_close(actual[name], value, dtype=dtype, length=length, name=name)


def compiled(mesh, inputs, **options):
  """Optimised HLO of the gradient with respect to every input."""

  def total(inputs):
    output = api.attention(
      *(inputs[n] for n in NAMES), partition=SPLIT, **options
    )
    return jnp.sum(output**2)

  with jax.set_mesh(mesh):
    placed = jax.device_put(inputs, NamedSharding(mesh, P(*SPLIT, None)))
    return jax.jit(jax.grad(total)).lower(placed).compile()


class TestRing:
  """Three heads do not split over the devices of the sequence."""

  @pytest.mark.parametrize('window', [None, 40, 75, 200])
  def test_equals_whole(self, window):
    compare(make_mesh(1, 8, 1), make_inputs(8 * 37, 3), window=window)

  def test_beside_other_axes(self):
    compare(make_mesh(2, 2, 2), make_inputs(2 * 150, 2))

  def test_bfloat16(self):
    compare(make_mesh(2, 4, 1), make_inputs(4 * 33, 3, jnp.bfloat16))

  def test_nothing_is_gathered(self):
    inputs = make_inputs(8 * 64, 3)
    text = compiled(make_mesh(1, 8, 1), inputs).as_text()
    assert 'collective-permute' in text
    for collective in ('all-gather', 'all-to-all', 'all-reduce'):
      assert collective not in text

  def test_no_scores_of_a_share_are_stored(self):
    inputs = make_inputs(8 * 4_096, 1)
    memory = compiled(make_mesh(1, 8, 1), inputs).memory_analysis()
    assert memory.temp_size_in_bytes < 4 * 4_096**2

  @pytest.mark.parametrize(
    ('window', 'expected'), [(None, 8), (1, 3), (100, 3), (101, 5), (900, 8)]
  )
  def test_a_window_shortens_it(self, window, expected):
    assert ring.num_rounds(100, window, 8) == expected

  def test_within_a_scan_over_layers_with_remat(self):
    mesh = make_mesh(1, 8, 1)
    inputs = make_inputs(8 * 16, 3)
    inputs['value'] = inputs['value'][..., :16]
    segment_ids = packed(8 * 16)
    weights = jnp.linspace(0.5, 1.5, 3)

    def total(weights, implementation, partition):
      @jax.checkpoint
      def layer(x, weight):
        output = api.attention(
          x * weight,
          inputs['key'],
          x,
          segment_ids=segment_ids,
          implementation=implementation,
          partition=partition,
        )
        return x + output, None

      x, _ = jax.lax.scan(layer, inputs['value'], weights)
      return jnp.sum(x**2)

    run = jax.jit(jax.grad(total), static_argnums=(1, 2))
    expected = run(weights, 'reference', None)
    with jax.set_mesh(mesh):
      actual = run(weights, None, SPLIT)
    assert_close(actual, expected, dtype=jnp.float32, length=8 * 16)

  def test_only_xla_has_one(self):
    inputs = make_inputs(8 * 16, 3)
    with pytest.raises(NotImplementedError, match='pallas_tpu'):
      compiled(make_mesh(1, 8, 1), inputs, implementation='pallas_tpu')


class TestByHeads:
  @pytest.mark.parametrize('implementation', RUN_HERE)
  def test_equals_whole(self, implementation):
    mesh = make_mesh(1, 4, 2)
    compare(mesh, make_inputs(4 * 37, 8), implementation, window=30)

  def test_only_segments_are_gathered(self):
    mesh = make_mesh(1, 4, 1)
    text = compiled(mesh, make_inputs(4 * 64, 4)).as_text()
    assert 'all-to-all' in text
    gathered = [x for x in text.splitlines() if ' all-gather(' in x]
    assert all(' s32[' in line for line in gathered), gathered


class TestByNeighbours:
  @pytest.mark.parametrize('implementation', RUN_HERE)
  @pytest.mark.parametrize('window', [1, 18])
  def test_equals_whole(self, implementation, window):
    mesh = make_mesh(2, 4, 1)
    compare(mesh, make_inputs(4 * 37, 3), implementation, window=window)

  def test_only_neighbours_are_asked(self):
    inputs = make_inputs(8 * 64, 3)
    text = compiled(make_mesh(1, 8, 1), inputs, window=10).as_text()
    assert 'collective-permute' in text
    for collective in ('all-gather', 'all-to-all', 'all-reduce'):
      assert collective not in text


def test_the_kernel_of_a_tpu_runs_on_whole_sequences(monkeypatch):
  lengths = []

  def record(query, *arguments, **options):
    lengths.append(query.shape[1])
    return pallas_tpu.attention(query, *arguments, **options)

  monkeypatch.setitem(api.IMPLEMENTATIONS, 'pallas_tpu', record)
  inputs = make_inputs(4 * 16, 4)
  compiled(make_mesh(1, 4, 1), inputs, implementation='pallas_tpu')
  assert set(lengths) == {4 * 16}
