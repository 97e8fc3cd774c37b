"""Every form of the gated delta rule against the token-by-token reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from backbone.kernels import dispatch
from backbone.kernels.gated_delta import api
from backbone.kernels.gated_delta.inverse import unit_lower_inverse
from tests.tolerance import assert_close

NAMES = ('query', 'key', 'value', 'log_decay', 'beta', 'initial_state')
# The tests of the Hopper kernel are in pallas_gpu_test.py.
RUN_HERE = [n for n in api.IMPLEMENTATIONS if n != 'pallas_gpu']
OTHERS = [n for n in RUN_HERE if n != 'reference']


def make_inputs(length, *, heads=2, keys=16, values=24, dtype=jnp.float32):
  rng = np.random.default_rng(length)

  def normal(*shape):
    return rng.normal(size=shape).astype(np.float32)

  def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)

  inputs = {
    'query': unit(normal(2, length, heads, keys)),
    'key': unit(normal(2, length, heads, keys)),
    'value': normal(2, length, heads, values),
    'log_decay': -np.log1p(np.exp(normal(2, length, heads))),
    'beta': 1 / (1 + np.exp(-normal(2, length, heads))),
    'initial_state': normal(2, heads, keys, values),
  }
  types = dict.fromkeys(('query', 'key', 'value'), dtype)
  return {
    n: jnp.asarray(x, types.get(n, jnp.float32)) for n, x in inputs.items()
  }


def packed(length):
  """Segments of ragged lengths, ending in padding (id 0)."""
  rng = np.random.default_rng(length)
  rows = []
  for _ in range(2):
    cuts = np.sort(rng.choice(length + 1, size=min(5, length), replace=False))
    row = np.searchsorted(cuts, np.arange(length), side='right') + 1
    row[cuts[-1] :] = 0
    rows.append(row)
  return jnp.asarray(np.stack(rows), jnp.int32)


def value_and_gradients(inputs, implementation, **options):
  """Output, final state, and the gradient of every input, of a fixed sum."""

  def total(inputs):
    arguments = [inputs[n] for n in NAMES[:-1]]
    output, state = api.gated_delta(
      *arguments,
      initial_state=inputs['initial_state'],
      implementation=implementation,
      **options,
    )
    wave = jnp.cos(jnp.arange(output.size)).reshape(output.shape)
    return jnp.sum(output * wave) + jnp.sum(jnp.sin(state)), (output, state)

  run = jax.jit(jax.value_and_grad(total, has_aux=True))
  (_, (output, state)), gradients = run(inputs)
  return {'output': output, 'state': state} | gradients


def compare(inputs, implementation, **options):
  length = inputs['query'].shape[1]
  dtype = inputs['query'].dtype
  exact = {n: x.astype(jnp.float32) for n, x in inputs.items()}
  expected = value_and_gradients(exact, 'reference', **options)
  actual = value_and_gradients(inputs, implementation, **options)
  for name, value in expected.items():
    assert_close(actual[name], value, dtype=dtype, length=length, name=name)


@pytest.mark.parametrize('implementation', OTHERS)
class TestImplementation:
  @pytest.mark.parametrize('length', [1, 7, 63, 128, 500])
  def test_lengths(self, implementation, length):
    compare(make_inputs(length), implementation)

  @pytest.mark.parametrize('direction', ['forward', 'reverse', 'split'])
  def test_packed(self, implementation, direction):
    options = {'segment_ids': packed(147), 'direction': direction}
    compare(make_inputs(147), implementation, **options)

  def test_bfloat16(self, implementation):
    inputs = make_inputs(200, dtype=jnp.bfloat16)
    compare(inputs, implementation, segment_ids=packed(200))

  def test_closed_gate_and_strong_decay(self, implementation):
    inputs = make_inputs(130)
    decay = np.array(inputs['log_decay'])
    decay[:, ::9] = -np.inf
    decay[:, 1::9] = -25.0
    decay[:, 2::9] = 0.0
    inputs['log_decay'] = jnp.asarray(decay)
    expected = value_and_gradients(inputs, 'reference')
    actual = value_and_gradients(inputs, implementation)
    # d exp(g) at g = -inf is 0 x inf in the reference: compare where it exists.
    for name in ('output', 'state', 'query', 'key', 'value', 'beta'):
      assert_close(
        actual[name], expected[name], dtype=jnp.float32, length=130, name=name
      )
    assert np.isfinite(actual['log_decay']).all()

  def test_repeated_keys_keep_digits(self, implementation):
    inputs = make_inputs(128)
    inputs['key'] = jnp.broadcast_to(inputs['key'][:, :1], inputs['key'].shape)
    inputs['beta'] = jnp.full_like(inputs['beta'], 0.999)
    inputs['log_decay'] = jnp.full_like(inputs['log_decay'], -1e-4)
    compare(inputs, implementation)

  def test_split_with_carried_state(self, implementation):
    inputs = make_inputs(150)
    sequences = [inputs[n] for n in NAMES[:-1]]

    def run(start, stop, state):
      return api.gated_delta(
        *(x[:, start:stop] for x in sequences),
        initial_state=state,
        implementation=implementation,
      )

    whole, last = run(0, 150, inputs['initial_state'])
    first, state = run(0, 70, inputs['initial_state'])
    second, state = run(70, 150, state)
    joined = jnp.concatenate([first, second], axis=1)
    for name, pair in {
      'output': (joined, whole),
      'state': (state, last),
    }.items():
      assert_close(*pair, dtype=jnp.float32, length=150, name=name)

  def test_padding_gets_no_gradient(self, implementation):
    inputs = make_inputs(90)
    segment_ids = jnp.where(jnp.arange(90) < 77, 1, 0) * jnp.ones((2, 1), int)

    def total(key):
      output, _ = api.gated_delta(
        inputs['query'],
        key,
        *(inputs[n] for n in NAMES[2:5]),
        segment_ids=segment_ids,
        implementation=implementation,
      )
      return jnp.sum(output[:, :77] ** 2)

    gradient = jax.grad(total)(inputs['key'])
    assert (np.asarray(gradient[:, 77:]) == 0).all()
    assert (np.asarray(gradient[:, :77]) != 0).any()


@pytest.mark.parametrize('implementation', RUN_HERE)
def test_segments_equal_separate_sequences(implementation):
  inputs = make_inputs(100)
  segment_ids = jnp.asarray([[1] * 37 + [2] * 63] * 2, jnp.int32)
  sequences = [inputs[n] for n in NAMES[:-1]]
  together, _ = api.gated_delta(
    *sequences, segment_ids=segment_ids, implementation=implementation
  )
  apart = [
    api.gated_delta(
      *(x[:, part] for x in sequences), implementation=implementation
    )[0]
    for part in (slice(0, 37), slice(37, 100))
  ]
  assert_close(
    together, jnp.concatenate(apart, 1), dtype=jnp.float32, length=100
  )


@pytest.mark.parametrize('implementation', RUN_HERE)
def test_reverse_is_flip_of_forward_of_flip(implementation):
  inputs = make_inputs(77)
  state = inputs['initial_state']
  sequences = [inputs[n] for n in NAMES[:-1]] + [packed(77)]

  def run(direction, sequences):
    *sequences, segment_ids = sequences
    return api.gated_delta(
      *sequences,
      segment_ids=segment_ids,
      initial_state=state,
      direction=direction,
      implementation=implementation,
    )

  there, there_state = run('reverse', sequences)
  back, back_state = run('forward', [jnp.flip(x, 1) for x in sequences])
  assert_close(there, jnp.flip(back, 1), dtype=jnp.float32, length=77)
  assert_close(there_state, back_state, dtype=jnp.float32, length=77)


def test_reference_is_the_recurrence_of_the_paper():
  """Against the equation written with numpy matrices, in float64."""
  inputs = {n: np.asarray(x, np.float64) for n, x in make_inputs(9).items()}
  output, final = api.gated_delta(
    *(jnp.asarray(inputs[n], jnp.float32) for n in NAMES[:-1]),
    initial_state=jnp.asarray(inputs['initial_state'], jnp.float32),
    implementation='reference',
  )
  state = inputs['initial_state'][0, 0].T
  for t in range(9):
    k, v = inputs['key'][0, t, 0], inputs['value'][0, t, 0]
    beta = inputs['beta'][0, t, 0]
    forget = np.eye(16) - beta * np.outer(k, k)
    state = np.exp(inputs['log_decay'][0, t, 0]) * state @ forget
    state += beta * np.outer(v, k)
    expected = state @ inputs['query'][0, t, 0] / 4
    assert_close(output[0, t, 0], expected, dtype=jnp.float32, length=9)
  assert_close(final[0, 0].T, state, dtype=jnp.float32, length=9)


@pytest.mark.parametrize('platform', ['cpu', 'gpu'])
@pytest.mark.parametrize('size', [8, 32, 64])
def test_inverse(size, platform, monkeypatch):
  monkeypatch.setattr(dispatch, 'platform', lambda: platform)
  rng = np.random.default_rng(0)
  lower = np.tril(rng.uniform(-1, 1, (3, size, size)), -1) / np.sqrt(size)
  expected = np.linalg.inv(np.eye(size) + lower)
  inverse = unit_lower_inverse(jnp.asarray(lower, jnp.float32))
  assert_close(inverse, expected, dtype=jnp.float32, length=size)


def test_unknown_implementation_raises():
  inputs = make_inputs(8)
  with pytest.raises(NotImplementedError, match='cudnn'):
    api.gated_delta(*(inputs[n] for n in NAMES[:-1]), implementation='cudnn')


def test_time_is_linear_in_length():
  """No array of the compiled step grows with the square of the length."""

  def floats(length):
    inputs = make_inputs(length)
    run = jax.jit(
      jax.grad(
        lambda q: jnp.sum(
          api.gated_delta(q, *(inputs[n] for n in NAMES[1:-1]))[0]
        )
      )
    )
    return run.lower(inputs['query']).compile().cost_analysis()['flops']

  assert floats(2_048) / floats(512) < 4.5
