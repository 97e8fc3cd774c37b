"""The gated delta rule on a sequence split over devices, against one device."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from backbone import sharding
from backbone.kernels.estimate import collectives
from tests.kernels.gated_delta.forms_test import (
  make_inputs,
  packed,
  value_and_gradients,
)
from tests.tolerance import assert_close

WHOLE_SEQUENCE = P('data', 'seq', 'model')


def compare(mesh, inputs, implementation, partition, **options):
  length = inputs['query'].shape[1]
  expected = value_and_gradients(inputs, implementation, **options)
  with jax.set_mesh(mesh):
    actual = value_and_gradients(
      inputs, implementation, partition=partition, **options
    )
  for name, value in expected.items():
    assert_close(
      actual[name], value, dtype=jnp.float32, length=length, name=name
    )


@pytest.mark.parametrize('direction', ['forward', 'reverse', 'split'])
def test_eight_shards_of_a_packed_sequence(direction):
  # Shards of 19 tokens: odd, no multiple of a chunk, and segments cross them.
  # The second row has borders where shards have theirs.
  aligned = jnp.repeat(jnp.asarray([1, 2, 3]), jnp.asarray([38, 57, 57]))
  segment_ids = packed(152).at[1].set(aligned)
  options = {'segment_ids': segment_ids, 'direction': direction}
  mesh = sharding.make_mesh(data=1, seq=8)
  compare(mesh, make_inputs(152), 'xla', WHOLE_SEQUENCE, **options)


def test_rows_tokens_and_heads_at_once():
  mesh = sharding.make_mesh(data=2, seq=2, model=2)
  inputs = make_inputs(100, heads=4)
  compare(mesh, inputs, 'xla', WHOLE_SEQUENCE, direction='split')


def test_tpu_kernel():
  mesh = sharding.make_mesh(data=1, seq=2, devices=jax.devices()[:2])
  options = {'segment_ids': packed(200), 'direction': 'split'}
  compare(mesh, make_inputs(200), 'pallas_tpu', WHOLE_SEQUENCE, **options)


def test_only_states_travel():
  """Bytes between devices do not grow with the sequence."""

  def moved(length):
    inputs = make_inputs(length)
    mesh = sharding.make_mesh(data=1, seq=8)
    with jax.set_mesh(mesh):
      split = jax.NamedSharding(mesh, P(None, 'seq'))
      whole = jax.NamedSharding(mesh, P())
      inputs = {
        name: jax.device_put(x, whole if name == 'initial_state' else split)
        for name, x in inputs.items()
      }

      def total(inputs):
        return value_and_gradients(inputs, 'xla', partition=WHOLE_SEQUENCE)

      compiled = jax.jit(total).lower(inputs).compile()
    return collectives(compiled.as_text())

  short, long = moved(256), moved(1_024)
  print(f'bytes a device sends or receives: {short}')
  assert short == long
  assert set(short) <= {'collective-permute', 'all-reduce'}
  states = 2 * 2 * 16 * (16 + 24) * 4
  assert 0 < sum(short.values()) <= 2 * (3 + 2) * states
