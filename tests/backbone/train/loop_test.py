"""The loop: order, resuming, stopping, what a step may not do."""

import dataclasses
import json
import os
import signal

import jax
import numpy as np
import pytest

from backbone import sharding
from backbone.train import loop, programs
from backbone.train.checkpoint import CheckpointError
from backbone.train.metrics import TIMINGS
from backbone.train.optim import AdamW
from backbone.train.state import parameters_sha256
from tests.backbone.train import toy

OPTIMIZER = AdamW(learning_rate=0.02, warmup_steps=2)
RUN = loop.Run(
  steps=12, log_every=2, evaluate_every=6, evaluate_rows=16, checkpoint_every=4
)


def one_device():
  return sharding.make_mesh(devices=jax.devices()[:1])


def fit(
  workdir,
  objective=None,
  data=None,
  *,
  mesh=None,
  run=RUN,
  seed=0,
  rules=sharding.DEFAULT_RULES,
):
  return loop.fit(
    objective or toy.Toy(),
    data or toy.ToyData(),
    run,
    optimizer=OPTIMIZER,
    workdir=workdir,
    mesh=mesh or one_device(),
    rules=rules,
    seed=seed,
    is_progress_shown=False,
  )


def lines(workdir):
  """Metrics without those that measure time."""
  read = [json.loads(t) for t in (workdir / 'metrics.jsonl').open()]
  return [{k: v for k, v in line.items() if k not in TIMINGS} for line in read]


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """A run that nothing interrupts, and its directory."""
  workdir = tmp_path_factory.mktemp('whole')
  return fit(workdir), workdir


class StopAt(toy.ToyIterator):
  """Does something before it gives a batch."""

  def __init__(self, data, position, action):
    super().__init__(data)
    self._at, self._action = position, action

  def __next__(self):
    if self._position == self._at:
      self._action()
    return super().__next__()


class Breaking(toy.ToyData):
  """Data whose iterator acts at a position."""

  def __new__(cls, position, action):
    self = super().__new__(cls)
    object.__setattr__(self, 'action', action)
    object.__setattr__(self, 'position', position)
    return self

  def __init__(self, position, action):
    super().__init__()

  def train(self, *, process_id, num_processes):
    return StopAt(self, self.position, self.action)


def test_learns_and_writes_what_it_did(tmp_path):
  trained = fit(tmp_path, run=loop.Run(steps=60, evaluate_every=30))
  validation = [x for x in lines(tmp_path) if x['split'] == 'validation']
  assert [x['step'] for x in validation] == [0, 30, 60]
  assert validation[-1]['loss'] < 0.6 * validation[0]['loss']
  assert trained.step == 60
  assert int(trained.aux['calls']) == 60
  assert parameters_sha256(trained.params) != parameters_sha256(
    trained.initial_params
  )
  assert list((tmp_path / 'tensorboard').iterdir())


def test_an_error_in_the_middle_then_the_same_again_changes_nothing(
  tmp_path, whole
):

  def fail():
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    fit(tmp_path / 'cut', data=Breaking(7, fail))
  assert lines(tmp_path / 'cut')[-1]['step'] == 6
  cut = fit(tmp_path / 'cut')
  assert parameters_sha256(cut.params) == parameters_sha256(whole[0].params)
  assert lines(tmp_path / 'cut') == lines(whole[1])


def test_a_signal_leaves_a_checkpoint_and_resumes_from_it(tmp_path, whole):
  before = signal.getsignal(signal.SIGTERM)
  stop = Breaking(6, lambda: os.kill(os.getpid(), signal.SIGTERM))
  with pytest.raises(loop.Interrupted) as caught:
    fit(tmp_path / 'cut', data=stop)
  assert caught.value.step == 7
  assert (tmp_path / 'cut/checkpoints/7').is_dir()
  assert signal.getsignal(signal.SIGTERM) is before
  cut = fit(tmp_path / 'cut')
  assert parameters_sha256(cut.params) == parameters_sha256(whole[0].params)
  assert lines(tmp_path / 'cut') == lines(whole[1])


def test_not_finite_stops_with_the_step_and_keeps_the_good_checkpoint(tmp_path):
  with pytest.raises(
    loop.Diverged, match=r'step 6: .*that of step 4'
  ) as caught:
    fit(tmp_path, toy.Toy(poison_at=5))
  assert '\n' not in str(caught.value)
  assert [p.name for p in (tmp_path / 'checkpoints').iterdir()] == ['4']


def test_a_finished_run_is_not_trained_again(whole):
  first, workdir = whole
  written = (workdir / 'metrics.jsonl').read_text()

  def fail():
    raise AssertionError('asked for a batch')

  again = fit(workdir, data=Breaking(RUN.steps, fail))
  assert parameters_sha256(first.params) == parameters_sha256(again.params)
  assert (workdir / 'metrics.jsonl').read_text() == written


@pytest.mark.parametrize(
  'change, message',
  [
    ({'data': toy.ToyData(manifest='other')}, 'data_manifest toy, .* other'),
    ({'objective': toy.Toy(vocabulary='AUGC')}, r'vocabulary \w+, this'),
    ({'objective': toy.Toy(width=16)}, r'bias is float32\[8\] there'),
    ({'seed': 1}, 'seed 0, this run has seed 1'),
  ],
)
def test_another_runs_checkpoint_is_refused(whole, change, message):
  with pytest.raises(CheckpointError, match=message) as caught:
    fit(whole[1], **change)
  assert '\n' not in str(caught.value)


def test_rows_that_do_not_fit_the_mesh_are_refused(tmp_path):
  with pytest.raises(loop.TrainingError, match=r"6 rows .*'data': 4"):
    fit(
      tmp_path,
      data=toy.ToyData(batch_size=6),
      mesh=sharding.make_mesh(data=4, model=2),
    )


def test_other_mesh_and_back_is_the_same_run(tmp_path):
  half = loop.Run(steps=6, checkpoint_every=6, evaluate_every=6)
  fit(tmp_path, run=half, mesh=sharding.make_mesh(data=4, model=2))
  on_one = fit(tmp_path, run=half, mesh=one_device())
  on_eight = fit(
    tmp_path, run=half, mesh=sharding.make_mesh(data=2, seq=2, model=2)
  )
  for one, eight in zip(
    jax.tree.leaves(on_one.params),
    jax.tree.leaves(on_eight.params),
    strict=True,
  ):
    np.testing.assert_array_equal(one, eight)
  assert len(jax.tree.leaves(on_one.params)[0].sharding.device_set) == 1


def test_parameters_may_be_split_and_batches_cut(tmp_path, monkeypatch):
  mesh = sharding.make_mesh(devices=jax.devices()[:4])
  run = dataclasses.replace(RUN, micro_batches=2)
  asked, make_step = [], programs.make_step

  def spy(*arguments, **settings):
    asked.append(settings)
    return make_step(*arguments, **settings)

  monkeypatch.setattr(programs, 'make_step', spy)
  whole = fit(tmp_path / 'whole', mesh=mesh, run=run)
  split = fit(
    tmp_path / 'split',
    mesh=mesh,
    run=run,
    rules=sharding.make_rules(split_parameters=True),
  )
  assert [settings['micro_batches'] for settings in asked] == [2, 2]
  kernels = [trained.params['up']['kernel'] for trained in (whole, split)]
  shares = [k.sharding.shard_shape(k.shape)[0] for k in kernels]
  assert shares == [24, 6]
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
    whole.params,
    split.params,
  )


def test_parameters_that_cannot_be_split_are_a_line(tmp_path):
  mesh = sharding.make_mesh(devices=jax.devices()[:5])
  with pytest.raises(loop.TrainingError, match='8 cannot be split over mesh'):
    fit(tmp_path, mesh=mesh, rules=sharding.make_rules(split_parameters=True))
