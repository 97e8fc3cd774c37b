"""Every form of softmax attention against the whole score matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from backbone.kernels.attention import api, native_cpu
from tests.kernels.gated_delta.forms_test import packed
from tests.tolerance import assert_close

IF_BUILT = pytest.mark.skipif(
  native_cpu.unavailable() is not None, reason=str(native_cpu.unavailable())
)
# The tests of cuDNN are in cudnn_test.py.
RUN_HERE = [
  pytest.param(name, marks=IF_BUILT) if name == 'native_cpu' else name
  for name in api.IMPLEMENTATIONS
  if name != 'cudnn'
]
OTHERS = [n for n in RUN_HERE if n != 'reference']
NAMES = ('query', 'key', 'value')


def make_inputs(length, dtype=jnp.float32):
  rng = np.random.default_rng(length)
  widths = {'query': 16, 'key': 16, 'value': 24}
  return {
    name: jnp.asarray(rng.normal(size=(2, length, 2, width)), dtype)
    for name, width in widths.items()
  }


def value_and_gradients(inputs, implementation, **options):
  def total(inputs):
    output = api.attention(
      *(inputs[n] for n in NAMES), implementation=implementation, **options
    )
    wave = jnp.cos(jnp.arange(output.size)).reshape(output.shape)
    return jnp.sum(output * wave), output

  run = jax.jit(jax.value_and_grad(total, has_aux=True))
  (_, output), gradients = run(inputs)
  return {'output': output} | gradients


def compare(inputs, implementation, **options):
  length = inputs['query'].shape[1]
  dtype = inputs['query'].dtype
  exact = {n: x.astype(jnp.float32) for n, x in inputs.items()}
  expected = value_and_gradients(exact, 'reference', **options)
  actual = value_and_gradients(inputs, implementation, **options)
  if length == 1:
    # The softmax of one score is constant: what its gradient keeps is the
    # rounding error of terms as large as those of the value's gradient.
    for results in (expected, actual):
      for name in ('query', 'key'):
        terms = results[name].ravel(), results['value'].ravel()
        results[name] = jnp.concatenate(terms)
  for name, value in expected.items():
    assert_close(actual[name], value, dtype=dtype, length=length, name=name)


@pytest.mark.parametrize('implementation', OTHERS)
class TestImplementation:
  @pytest.mark.parametrize('length', [1, 7, 256, 700])
  def test_lengths(self, implementation, length):
    compare(make_inputs(length), implementation)

  @pytest.mark.parametrize('window', [None, 1, 100, 300])
  def test_packed_and_windowed(self, implementation, window):
    options = {'segment_ids': packed(600), 'window': window}
    compare(make_inputs(600), implementation, **options)

  def test_bfloat16(self, implementation):
    inputs = make_inputs(300, jnp.bfloat16)
    compare(inputs, implementation, segment_ids=packed(300))

  def test_large_scores_stay_finite(self, implementation):
    inputs = make_inputs(300)
    inputs['query'] = inputs['query'] * 100
    compare(inputs, implementation)


@pytest.mark.parametrize('implementation', RUN_HERE)
def test_segments_equal_separate_sequences(implementation):
  inputs = make_inputs(100)
  sequences = [inputs[n] for n in NAMES]
  segment_ids = jnp.asarray([[1] * 37 + [2] * 63] * 2, jnp.int32)
  together = api.attention(
    *sequences, segment_ids=segment_ids, implementation=implementation
  )
  apart = [
    api.attention(
      *(x[:, part] for x in sequences), implementation=implementation
    )
    for part in (slice(0, 37), slice(37, 100))
  ]
  assert_close(
    together, jnp.concatenate(apart, 1), dtype=jnp.float32, length=100
  )


def test_no_score_matrix_is_stored():
  """At 4,096 tokens neither direction holds an array of T x T."""
  inputs = make_inputs(4_096)
  run = jax.jit(
    jax.grad(
      lambda inputs: jnp.sum(
        api.attention(*inputs.values(), implementation='xla')
      )
    )
  )
  memory = run.lower(inputs).compile().memory_analysis()
  assert memory.temp_size_in_bytes < 4 * 4_096**2


def test_a_window_makes_time_linear():
  def scores(length):
    inputs = make_inputs(length)
    run = jax.make_jaxpr(
      jax.grad(
        lambda inputs: jnp.sum(
          api.attention(*inputs.values(), window=100, implementation='xla')
        )
      )
    )
    return sum(_products(run(inputs).jaxpr))

  assert scores(4_096) < 1.05 * 4 * scores(1_024)


def _products(jaxpr, times=1):
  """Sizes of the results of all matrix products, loops counted."""
  for equation in jaxpr.eqns:
    if equation.primitive.name == 'dot_general':
      yield times * equation.outvars[0].aval.size
    repeats = times * equation.params.get('length', 1)
    for value in equation.params.values():
      inner = getattr(value, 'jaxpr', value)
      if hasattr(inner, 'eqns'):
        yield from _products(inner, repeats)
