"""Utilisation: operations of a step over what its devices could do."""

import json
import logging

import jax
import pytest

from backbone import sharding
from backbone.kernels import arithmetic, estimate
from backbone.train import loop, utilisation
from backbone.train.optim import AdamW
from tests.backbone.train import toy

PEAK = 1e9
RUN = loop.Run(steps=4, log_every=2, evaluate_every=4, checkpoint_every=4)


def readings(workdir, mesh):
  loop.fit(
    toy.Toy(),
    toy.ToyData(),
    RUN,
    optimizer=AdamW(warmup_steps=1),
    workdir=workdir,
    mesh=mesh,
    is_progress_shown=False,
  )
  lines = [json.loads(line) for line in (workdir / 'metrics.jsonl').open()]
  return [line for line in lines if line['split'] == 'train']


@pytest.fixture
def known(monkeypatch):
  """This machine's devices have a peak."""
  kind = jax.devices()[0].device_kind
  monkeypatch.setitem(utilisation.PEAKS, kind, PEAK)


@pytest.mark.parametrize('sizes', [(1, 1, 1), (4, 1, 2), (2, 2, 2)])
def test_a_run_logs_the_operations_of_its_steps(tmp_path, known, sizes):
  number = sizes[0] * sizes[1] * sizes[2]
  mesh = sharding.make_mesh(*sizes, devices=jax.devices()[:number])
  data, width = toy.ToyData(), toy.Toy().width
  bases = data.batch_size * data.row_length
  weights = 3 * width * 2 * width + 2 * width * width + width * 4
  # Forward, and the gradients of inputs and of weights.
  wanted = 3 * 2 * bases * weights
  for line in readings(tmp_path, mesh):
    done = line['utilisation'] * line['step_seconds'] * PEAK * number
    assert done == pytest.approx(wanted)


@pytest.mark.parametrize(
  'topology, kinds',
  [
    ('v5e', ('TPU v5 lite', 'TPU v5e')),
    ('v5p', ('TPU v5', 'TPU v5p')),
    ('v6e', ('TPU v6 lite', 'TPU v6e')),
  ],
)
def test_a_plan_and_the_log_have_one_peak(topology, kinds):
  wanted = estimate.chip(f'{topology}:2x2').flops
  for kind in kinds:
    assert utilisation.PEAKS[kind] == pytest.approx(wanted, rel=0.01)


def test_a_device_without_a_known_peak_logs_none(tmp_path):
  mesh = sharding.make_mesh(devices=jax.devices()[:1])
  assert all('utilisation' not in x for x in readings(tmp_path, mesh))


def test_what_cannot_be_counted_is_said_once(
  tmp_path, known, monkeypatch, caplog
):
  def fail(_):
    raise ValueError('ffi_call: trace the reference of this kernel')

  monkeypatch.setattr(arithmetic, 'operations', fail)
  mesh = sharding.make_mesh(devices=jax.devices()[:1])
  with caplog.at_level(logging.WARNING):
    lines = readings(tmp_path, mesh)
  assert all('utilisation' not in line for line in lines)
  said = [r.getMessage() for r in caplog.records]
  assert sum('utilisation is not logged: ffi_call' in x for x in said) == 1
