"""Labels of a task as a head is fitted to them, and outputs as labels."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Shaped

from backbone.downstream.examples import num_units
from data_pipelines import records
from data_pipelines.errors import InputError
from data_pipelines.tasks import Task
from data_pipelines.tasks.task import NO_LABEL


@dataclasses.dataclass(frozen=True)
class Targets:
  """The labels of a task as a head is fitted to them.

  Attributes:
    metric: Of the task.
    values: Per example an array of its one label or of its units': int32
      indices into `classes`, negative where unknown; or float32 numbers,
      standardised.
    truth: Per example its known labels, as the task has them.
    classes: The classes of train in order; None for numbers.
    mean: Of train's numbers.
    deviation: Of train's numbers.
  """

  metric: str
  values: list[np.ndarray]
  truth: list[np.ndarray]
  classes: np.ndarray | None = None
  mean: float = 0.0
  deviation: float = 1.0

  @property
  def num_outputs(self) -> int:
    """Of a head: a score per class, or one number."""
    return 1 if self.classes is None else len(self.classes)

  def predicted(
    self, outputs: Float[np.ndarray, 'e O']
  ) -> Shaped[np.ndarray, 'e']:
    """What the metric compares with the truth."""
    if self.classes is None:
      return outputs[:, 0].astype(np.float64) * self.deviation + self.mean
    if self.metric == 'auroc':
      return outputs[:, 1] - outputs[:, 0]
    return self.classes[outputs.argmax(-1)]


def has_label(
  values: Shaped[np.ndarray, '*shape'],
) -> Bool[np.ndarray, '*shape']:
  """Where an entry of `Targets.values` has a label."""
  if np.issubdtype(values.dtype, np.floating):
    return np.ones(values.shape, bool)
  return values >= 0


def make_targets(task: Task) -> Targets:
  """The targets of a task, classes and scale taken from train alone.

  Raises:
    InputError: A split or a sequence is empty, labels do not fit the units,
      or train's labels cannot teach what the other splits ask for.
  """
  _check_examples(task)
  if task.is_regression:
    return _numbers(task)
  labels = [np.atleast_1d(np.asarray(label)) for label in task.labels]
  is_known = [np.ones(label.shape, bool) for label in labels]
  if task.pooling == 'unit':
    _check_units(task, labels)
    is_known = [label != NO_LABEL for label in labels]
  truth = [label[known] for label, known in zip(labels, is_known, strict=True)]
  classes = _classes(task, truth)
  values = [
    np.where(known, np.searchsorted(classes, label), -1).astype(np.int32)
    for label, known in zip(labels, is_known, strict=True)
  ]
  return Targets(task.metric, values, truth, classes)


def _numbers(task: Task) -> Targets:
  if task.pooling == 'unit':
    raise InputError(
      f'{task.name}: {task.metric} of units; a head per unit has classes only'
    )
  numbers = np.asarray(task.labels, np.float64)
  if not np.isfinite(numbers).all():
    at = np.flatnonzero(~np.isfinite(numbers))[0]
    raise InputError(
      f'{task.name}: the label of example {at} is {numbers[at]}; leave it out'
    )
  train = numbers[np.asarray(task.split) == 'train']
  mean, deviation = float(train.mean()), float(train.std())
  if deviation == 0:
    raise InputError(
      f'{task.name}: all labels of train are {mean}; check the labels'
    )
  values = ((numbers - mean) / deviation).astype(np.float32)
  return Targets(
    task.metric,
    list(values[:, None]),
    list(numbers[:, None]),
    mean=mean,
    deviation=deviation,
  )


def _classes(task: Task, truth: list[np.ndarray]) -> np.ndarray:
  """The classes of train, which are all that the other splits have."""
  split = np.repeat(np.asarray(task.split), [label.size for label in truth])
  labels = np.concatenate(truth)
  found = {name: np.unique(labels[split == name]) for name in records.SPLITS}
  wanted = 'exactly two' if task.metric == 'auroc' else 'at least two'
  classes = found['train']
  if classes.size < 2 or (task.metric == 'auroc' and classes.size > 2):
    raise InputError(
      f'{task.name}: train has the classes {classes.tolist()}; {task.metric} '
      f'needs {wanted}'
    )
  for name in ('validation', 'test'):
    unknown = np.setdiff1d(found[name], classes)
    if unknown.size:
      raise InputError(
        f'{task.name}: {name} has the class {unknown[0]}, of which train has '
        'no example; move some to train or leave the class out'
      )
    if found[name].size < (2 if task.metric == 'auroc' else 1):
      raise InputError(
        f'{task.name}: {name} has the classes {found[name].tolist()}, too few '
        f'for {task.metric}'
      )
  return classes


def _check_examples(task: Task) -> None:
  unknown = set(np.unique(task.split).tolist()) - set(records.SPLITS)
  if unknown:
    raise InputError(
      f'{task.name}: split {sorted(unknown)[0]!r} is none of {records.SPLITS}'
    )
  for name in records.SPLITS:
    if not np.any(np.asarray(task.split) == name):
      raise InputError(f'{task.name}: {name} has no example; fill all splits')
  if task.partners is not None and task.pooling != 'mean':
    raise InputError(
      f'{task.name}: pooling {task.pooling!r} of pairs; pairs have mean alone'
    )
  sides = {'sequence': task.sequences}
  if task.partners is not None:
    sides['partner'] = task.partners
  for side, sequences in sides.items():
    for index, sequence in enumerate(sequences):
      if not sequence.size:
        raise InputError(
          f'{task.name}: the {side} of example {index} is empty; leave it out'
        )


def _check_units(task: Task, labels: list[np.ndarray]) -> None:
  pairs = zip(task.sequences, labels, strict=True)
  for index, (sequence, label) in enumerate(pairs):
    if label.size != num_units(sequence):
      raise InputError(
        f'{task.name}: example {index} has {label.size} labels for '
        f'{num_units(sequence)} units of three bases'
      )
