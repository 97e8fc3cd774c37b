"""The training step: micro-batches, and which rows a process holds."""

import dataclasses
import inspect
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from backbone import sharding
from backbone.array_types import Mean
from backbone.train import processes, state
from backbone.train.optim import AdamW
from tests.backbone.train.toy import Dense

ROWS, LENGTH = 16, 8


class Linear(nnx.Module):
  """One output."""

  def __init__(self, key):
    self.head = Dense(LENGTH, 1, rngs=nnx.Rngs(key))

  def __call__(self, x):
    return self.head(x)[:, 0]


@dataclasses.dataclass(frozen=True)
class Regression:
  """Every row counts alike, and nothing is drawn."""

  def init(self, key):
    """A linear map, and how many rows it has seen."""
    return Linear(key), {'rows': jnp.zeros(())}

  def loss(self, model, aux, batch, key, *, train):
    """Squared error."""
    del key, train
    x = batch['sequence'].astype(jnp.float32)
    error = jnp.square(model(x) - batch['value'][:, 0])
    mean = Mean(error.sum(), jnp.float32(len(error)))
    return error.mean(), ({'rows': aux['rows'] + len(x)}, {'loss': mean})


def stepped(mesh, micro_batches, rows=ROWS):
  rng = np.random.default_rng(0)
  batch = {
    'sequence': rng.integers(0, 4, (rows, LENGTH)).astype(np.uint8),
    'segment_ids': np.ones((rows, LENGTH), np.int32),
    'value': rng.normal(size=(rows, 1)).astype(np.float32),
  }
  objective = Regression()
  transform = AdamW(learning_rate=0.1, warmup_steps=1).transform(10)
  with jax.set_mesh(mesh):
    graphdef, abstract = state.abstract_state(objective, transform, mesh=mesh)
    before = state.make_create(objective, transform, abstract)(
      jax.random.key(0)
    )
    step = state.make_step(
      objective,
      transform,
      graphdef,
      abstract,
      jax.random.key(1),
      mesh=mesh,
      micro_batches=micro_batches,
    )
    return step(before, state.to_device(batch, mesh))


@pytest.mark.parametrize('devices', [1, 4])
@pytest.mark.parametrize('micro_batches', [2, 4])
def test_micro_batches_make_the_same_step(devices, micro_batches):
  mesh = sharding.make_mesh(devices=jax.devices()[:devices])
  one, one_metrics = stepped(mesh, 1)
  other, other_metrics = stepped(mesh, micro_batches)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
    (one.params, one.opt_state, one_metrics),
    (other.params, other.opt_state, other_metrics),
  )
  # State without gradient goes through all of them.
  assert float(other.aux['rows']) == float(one.aux['rows']) == ROWS


def test_rows_that_cannot_be_cut_are_refused():
  mesh = sharding.make_mesh(devices=jax.devices()[:1])
  with pytest.raises(
    state.TrainingError, match='16 rows over 1 devices cannot be cut'
  ):
    stepped(mesh, 3)
  # 4 rows of each part would not fill 8 devices.
  mesh = sharding.make_mesh(devices=jax.devices()[:8])
  with pytest.raises(state.TrainingError, match='cannot be cut into 4'):
    stepped(mesh, 4)


class Device:
  """A place in a mesh that is not here."""

  def __init__(self, process_index):
    self.process_index = process_index


def as_process(index, places, monkeypatch):
  monkeypatch.setattr(jax, 'process_index', lambda: index)
  devices = np.array([[[Device(p) for p in row]] for row in places])

  pod = types.SimpleNamespace(devices=devices)
  # Without the check of types, which knows meshes of devices only.
  return inspect.unwrap(processes.reader)(pod)


@pytest.mark.parametrize(
  ('places', 'expected'),
  [
    # Axis `data` down, the rest across.
    ([[0], [0], [1], [1]], [(0, 2), (1, 2)]),
    ([[0, 1], [0, 1]], [(0, 1), (0, 1)]),
    ([[0, 1], [2, 3]], [(0, 2), (0, 2), (1, 2), (1, 2)]),
    # No block of rows: all are read.
    ([[0], [1], [0], [1]], [(0, 1), (0, 1)]),
  ],
)
def test_processes_read_the_rows_they_hold(places, expected, monkeypatch):
  found = [as_process(i, places, monkeypatch) for i in range(len(expected))]
  assert found == expected
