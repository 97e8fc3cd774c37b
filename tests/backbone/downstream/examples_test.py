"""Which rows a task has: units are sampled, test is whole."""

import dataclasses

import numpy as np
import pytest

from backbone.downstream import examples
from data_pipelines.tasks import Task
from data_pipelines.tasks.task import NO_LABEL


def unit_task(num=40):
  """Every unit is labelled with whether it begins with A; some are not."""
  rng = np.random.default_rng(0)
  sequences, labels = [], []
  for _ in range(num):
    units = rng.integers(0, 4, (rng.integers(5, 30), 3)).astype(np.uint8)
    track = (units[:, 0] == 0).astype(np.int64)
    track[rng.random(track.size) < 0.2] = NO_LABEL
    sequences.append(units.ravel())
    labels.append(track)
  tracks = np.empty(num, object)
  tracks[:] = labels
  split = np.array(['train', 'validation', 'test', 'test'])[np.arange(num) % 4]
  return Task('units', sequences, tracks, split, 'accuracy', 'unit')


def test_units_are_sampled_from_train_and_validation_alone():
  task = unit_task()
  sample = examples.UnitSample(train=50, validation=20)
  made = examples.of_task(task, sample)
  assert (made.split == 'train').sum() == 50
  assert (made.split == 'validation').sum() == 20
  in_test = [
    (track != NO_LABEL).sum()
    for track, split in zip(task.labels, task.split, strict=True)
    if split == 'test'
  ]
  assert (made.split == 'test').sum() == sum(in_test)
  for label, sequence, unit in zip(
    made.labels, made.sequence, made.unit, strict=True
  ):
    assert task.labels[sequence][unit] == label != NO_LABEL
  np.testing.assert_array_equal(made.groups, made.sequence)
  again = examples.of_task(task, sample)
  np.testing.assert_array_equal(again.unit, made.unit)
  other = examples.of_task(task, dataclasses.replace(sample, seed=1))
  assert not np.array_equal(other.unit, made.unit)


def test_what_does_not_fit_is_refused():
  task = unit_task()
  task.labels[3] = task.labels[3][:-1]
  with pytest.raises(ValueError, match='sequence 3 has'):
    examples.of_task(task)
  task = dataclasses.replace(unit_task(), partners=task.sequences)
  with pytest.raises(ValueError, match='no units'):
    examples.of_task(task)
  task = dataclasses.replace(unit_task(), split=np.full(40, 'train'))
  with pytest.raises(ValueError, match='no test example'):
    examples.of_task(task).of_split('test')
