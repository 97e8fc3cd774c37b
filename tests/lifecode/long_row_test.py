"""A row that is split over devices: the step is that of one device.

A million bases are split in the same way, and compiled for pods
(docs/pods.md); here the row is one that a single device can hold.
"""

import dataclasses

import jax
import numpy as np

from backbone import sharding
from backbone.train.optim import AdamW
from backbone.train.state import (
  abstract_state,
  make_create,
  make_step,
  to_device,
)
from data_pipelines import records
from data_pipelines.rows import PACKED
from lifecode.objective import pretrain
from tests.lifecode.batches import TINY
from tests.tolerance import relative

TOKENS = 2_048
# A window, a state and whole attention cross from device to device.
LONG = dataclasses.replace(
  TINY,
  backbone=dataclasses.replace(
    TINY.backbone, pattern=('delta', 'local', 'attention'), num_heads=8
  ),
)


def make_row():
  """One genome record, a shorter one behind it, and padding."""
  rng = np.random.default_rng(0)
  length = 3 * TOKENS
  row = {
    name: np.full((1, length), filler, dtype)
    for name, (dtype, filler) in PACKED.items()
  }
  for number, (start, end) in enumerate(
    ((0, 4_500), (4_500, length - 600)), start=1
  ):
    row['sequence'][:, start:end] = rng.integers(0, 4, end - start)
    row['segment_ids'][:, start:end] = number
    row['positions'][:, start:end] = np.arange(end - start)
    row['kind'][:, start:end] = records.GENOME
  return row


def step_on(mesh):
  objective = pretrain(LONG)
  transform = AdamW(learning_rate=1e-2, warmup_steps=1).transform(10)
  with jax.set_mesh(mesh):
    graphdef, abstract = abstract_state(objective, transform, mesh=mesh)
    keys = jax.random.split(jax.random.key(0))
    state = make_create(objective, transform, abstract)(keys[0])
    step = make_step(
      objective, transform, graphdef, abstract, keys[1], mesh=mesh
    )
    batch = to_device(make_row(), mesh)
    shown = []
    for _ in range(2):
      state, metrics = step(state, batch)
      shown.append({name: mean.value() for name, mean in metrics.items()})
  return batch, shown


def test_a_row_over_eight_devices_makes_the_same_step():
  _, one = step_on(sharding.make_mesh(devices=jax.devices()[:1]))
  batch, many = step_on(sharding.make_mesh(data=1, seq=8))
  tokens = batch['sequence'].sharding.shard_shape(batch['sequence'].shape)
  assert tokens == (1, 3 * TOKENS // 8)
  allowed = relative(np.float32, 3 * TOKENS)
  for ours, wanted in zip(many, one, strict=True):
    assert ours.keys() == wanted.keys()
    for name, value in wanted.items():
      np.testing.assert_allclose(ours[name], value, rtol=allowed, err_msg=name)
