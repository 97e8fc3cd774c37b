"""The form in C++: its values, what it visits, and where it cannot be built."""

import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backbone.kernels.attention import api, native_cpu, reference
from tests.kernels.attention.forms_test import IF_BUILT
from tests.tolerance import assert_close

pytestmark = IF_BUILT


def draw(seed, batch, length, num_heads, key_width, value_width):
  rng = np.random.default_rng(seed)
  widths = key_width, key_width, value_width, value_width
  return [
    jnp.asarray(rng.normal(size=(batch, length, num_heads, n)), jnp.float32)
    for n in widths
  ]


def value_and_gradients(function, sequences, d_output, *options):
  output, pull = jax.vjp(lambda *x: function(*x, *options), *sequences)
  return output, *pull(d_output)


@settings(deadline=None, max_examples=40)
@given(
  seed=st.integers(0, 2**32 - 1),
  batch=st.integers(1, 2),
  length=st.integers(16, 450),
  num_heads=st.integers(1, 3),
  key_width=st.integers(1, 70),
  value_width=st.integers(1, 70),
  window=st.none() | st.integers(0, 500),
  num_segments=st.integers(1, 4),
)
def test_equals_reference(
  seed,
  batch,
  length,
  num_heads,
  key_width,
  value_width,
  window,
  num_segments,
):
  """Any shape; segments in any order, interrupted by others."""
  *sequences, d_output = draw(
    seed, batch, length, num_heads, key_width, value_width
  )
  rng = np.random.default_rng(seed)
  runs = rng.integers(0, num_segments, (batch, -(-length // 20)))
  segment_ids = jnp.asarray(runs.repeat(20, 1)[:, :length], jnp.int32)
  arguments = sequences, d_output, segment_ids, window
  expected = value_and_gradients(reference.attention, *arguments)
  actual = value_and_gradients(native_cpu.attention, *arguments)
  # Of a token that sees few others, the gradients of query and key are what
  # is left of order-one terms; of a token that sees itself alone, nothing.
  terms = 1.0 if window is not None and window < 8 else 1e-3
  for result, wanted in zip(actual, expected, strict=True):
    assert_close(result, wanted, dtype=jnp.float32, length=length, terms=terms)


def test_other_segments_are_not_visited():
  """Nor is padding, segment 0 at the end: NaN there reaches no sequence."""
  length, border, padding = 769, 384, 750
  *sequences, d_output = draw(0, 1, length, 2, 32, 32)
  segment_ids = jnp.ones((1, length), jnp.int32)
  segment_ids = segment_ids.at[:, border:].set(2).at[:, padding:].set(0)

  def run(sequences):
    return value_and_gradients(
      native_cpu.attention, sequences, d_output, segment_ids, None
    )

  poisoned = [x.at[:, border:].set(jnp.nan) for x in sequences]
  for result, wanted in zip(run(poisoned), run(sequences), strict=True):
    np.testing.assert_array_equal(result[:, :border], wanted[:, :border])
    assert np.isnan(result[:, border:]).all()


def test_what_is_unseen_weighs_nothing():
  """Not even 1e38 times its value, in the same block of keys."""
  query, key, value, _ = draw(0, 1, 40, 1, 8, 8)
  segment_ids = jnp.arange(40, dtype=jnp.int32)[None] // 20
  run = native_cpu.attention
  wanted = run(query, key, value, segment_ids, None)[:, :20]
  value = value.at[:, 20:].set(1e38)
  result = run(query, key, value, segment_ids, None)[:, :20]
  np.testing.assert_array_equal(result, wanted)


def test_memory_of_an_earlier_call_is_not_read():
  sequences = draw(0, 4, 300, 4, 40, 24)
  segment_ids = jnp.zeros((4, 300), jnp.int32)

  def run(*sequences):
    *inputs, d_output = sequences
    return value_and_gradients(
      native_cpu.attention, inputs, d_output, segment_ids, None
    )

  first = run(*sequences)
  run(*(jnp.full_like(x, jnp.nan) for x in sequences))
  for result, wanted in zip(run(*sequences), first, strict=True):
    np.testing.assert_array_equal(result, wanted)


def test_under_vmap():
  *sequences, _ = draw(0, 3, 50, 2, 8, 8)
  segment_ids = jnp.zeros((3, 50), jnp.int32)
  wanted = native_cpu.attention(*sequences, segment_ids, None)
  one_row = jax.vmap(
    lambda *x: native_cpu.attention(*(y[None] for y in x), None)[0]
  )
  np.testing.assert_array_equal(one_row(*sequences, segment_ids), wanted)


@pytest.fixture
def unbuilt(monkeypatch, tmp_path):
  """As on a machine where it was never built."""
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  native_cpu.unavailable.cache_clear()
  yield tmp_path
  monkeypatch.undo()
  native_cpu.unavailable.cache_clear()


def run(implementation):
  x = jnp.ones((1, 8, 1, 4))
  return api.attention(x, x, x, implementation=implementation)


def test_without_a_compiler(unbuilt, monkeypatch):
  monkeypatch.setenv('CXX', 'no-such-compiler')
  with pytest.raises(NotImplementedError, match="no C\\+\\+ compiler 'no-such"):
    run('native_cpu')
  # Nothing is lost but speed.
  np.testing.assert_allclose(run(None), 1, rtol=1e-6)


def test_a_failing_compiler_leaves_nothing_behind(unbuilt, monkeypatch):
  monkeypatch.setenv('CXX', 'c++ -no-such-option')
  with pytest.raises(NotImplementedError, match='no-such-option'):
    run('native_cpu')
  assert not [path for path in unbuilt.rglob('*') if path.is_file()]


def test_is_built_once(unbuilt, monkeypatch):
  built = native_cpu._built()

  def refuse(command, **options):
    assert '-E' in command, 'compiled again'
    return original(command, **options)

  original = subprocess.run
  monkeypatch.setattr(subprocess, 'run', refuse)
  assert native_cpu._built() == built
