"""Batches on the devices: values, sharding, and the state behind a prefetch."""

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from data_pipelines.to_device import DeviceBatches, to_device


class Counter:
  """Batches that hold their own number."""

  def __init__(self):
    self.next_batch = 0

  def __next__(self):
    self.next_batch += 1
    return {'sequence': np.full((4, 6), self.next_batch - 1, np.uint8)}

  def get_state(self):
    return {'next_batch': self.next_batch}

  def set_state(self, state):
    self.next_batch = state['next_batch']


def row_sharding():
  mesh = Mesh(np.array(jax.devices()[:1]), ('data',))
  return NamedSharding(mesh, PartitionSpec('data'))


def test_arrays_keep_value_type_and_sharding():
  batch = {
    'sequence': np.arange(24, dtype=np.uint8).reshape(4, 6),
    'soft_mask': np.eye(4, 6, dtype=bool),
  }
  moved = to_device(batch, row_sharding())
  for name, array in batch.items():
    assert moved[name].sharding == row_sharding()
    assert moved[name].dtype == array.dtype
    assert np.array_equal(moved[name], array)


def test_state_does_not_count_the_batch_read_ahead():
  batches = DeviceBatches(Counter(), row_sharding())
  assert batches.get_state() == {'next_batch': 0}
  seen = [int(next(batches)['sequence'][0, 0]) for _ in range(3)]
  assert seen == [0, 1, 2]
  state = batches.get_state()
  assert state == {'next_batch': 3}

  resumed = DeviceBatches(Counter(), row_sharding())
  next(resumed)
  resumed.set_state(state)
  assert resumed.get_state() == state
  assert int(next(resumed)['sequence'][0, 0]) == 3
  assert int(next(batches)['sequence'][0, 0]) == 3
