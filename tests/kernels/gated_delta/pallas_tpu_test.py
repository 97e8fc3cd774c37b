"""What only the TPU form has: any shape, its own name, and a mutable source."""

import inspect
import re

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backbone.kernels.gated_delta import api, tpu_chunk
from backbone.kernels.gated_delta.tpu_grid import Blocks
from tests.kernels.gated_delta.forms_test import (
  NAMES,
  compare,
  make_inputs,
  packed,
)


@settings(max_examples=4, deadline=None)
@given(
  length=st.integers(1, 290),
  heads=st.integers(1, 5),
  keys=st.integers(1, 40),
  values=st.integers(1, 40),
  direction=st.sampled_from(['forward', 'reverse', 'split']),
  is_packed=st.booleans(),
)
def test_any_shape(length, heads, keys, values, direction, is_packed):
  heads += direction == 'split' and heads % 2
  inputs = make_inputs(length, heads=heads, keys=keys, values=values)
  segment_ids = packed(length) if is_packed else None
  compare(inputs, 'pallas_tpu', segment_ids=segment_ids, direction=direction)


@pytest.mark.parametrize(
  ('line', 'mutated'),
  [
    ('d_written += _dot(scores', 'd_written -= _dot(scores'),
    ('d_key_kept = gates.kept *', 'd_key_kept ='),
    (
      '-d_products[length:] * gates.before',
      '-d_products[length:] * gates.decay',
    ),
    ('d_entering = gates.whole * d_state', 'd_entering = d_state'),
    ('d_last = _sum_all', 'd_last = 0 * _sum_all'),
  ],
)
def test_a_mutated_backward_line_is_noticed(line, mutated, monkeypatch):
  source = inspect.getsource(tpu_chunk.backward)
  assert source.count(line) == 1
  names = dict(vars(tpu_chunk))
  # The annotations are of no use here, and beartype's hook has seen them.
  exec(compile(source.replace(line, mutated), 'mutated', 'exec'), names)
  monkeypatch.setattr(tpu_chunk, 'backward', names['backward'])
  with pytest.raises(AssertionError, match='error'):
    compare(make_inputs(150), 'pallas_tpu', segment_ids=packed(150))


def test_kernels_of_the_jaxpr():
  def names(implementation, direction):
    inputs = make_inputs(20)

    def total(query):
      arguments = [inputs[n] for n in NAMES[1:-1]]
      output, _ = api.gated_delta(
        query, *arguments, direction=direction, implementation=implementation
      )
      return jnp.sum(output)

    text = str(jax.make_jaxpr(jax.grad(total))(inputs['query']))
    return re.findall(r'name=(gated_delta_\w+)', text)

  forward, backward = 'gated_delta_forward', 'gated_delta_backward'
  assert sorted(set(names('pallas_tpu', 'forward'))) == [backward, forward]
  assert names('pallas_tpu', 'split').count(backward) == 2
  assert not names('xla', 'split')


@pytest.mark.parametrize('sizes', [(100, 4), (0, 4), (128, 0)])
def test_misfit_blocks_raise(sizes):
  with pytest.raises(ValueError, match=r'multiple|1 or more'):
    Blocks(*sizes)
