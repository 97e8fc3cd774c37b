"""What a linear model is fitted and scored on: a row per labelled thing."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Int, Shaped

from data_pipelines.tasks import Task
from data_pipelines.tasks.task import NO_LABEL


@dataclasses.dataclass(frozen=True)
class UnitSample:
  """How many labelled units are taken, where the units are labelled.

  Drawn at random from all sequences of a split; test units are all taken.

  Attributes:
    train: At most so many units to fit on.
    validation: At most so many to choose on.
    seed: Of the draw.
  """

  train: int = 50_000
  validation: int = 20_000
  seed: int = 0


@dataclasses.dataclass(frozen=True)
class Examples:
  """Rows of a task: its sequences or pairs, or units of its sequences.

  Attributes:
    task: Where they are from.
    labels: Class or number of each row.
    split: 'train', 'validation' or 'test'.
    groups: Rows of one entry are resampled together.
    sequence: Index into the task's sequences.
    unit: Which unit of the sequence, where the task's pooling is 'unit'.
  """

  task: Task
  labels: Shaped[np.ndarray, 'e']
  split: Shaped[np.ndarray, 'e']
  groups: Shaped[np.ndarray, 'e']
  sequence: Int[np.ndarray, 'e']
  unit: Int[np.ndarray, 'e'] | None

  def of_split(self, split: str) -> Bool[np.ndarray, 'e']:
    """Where the rows of a split are; it must have some."""
    chosen = self.split == split
    if not chosen.any():
      raise ValueError(f'{self.task.name}: no {split} example with a label')
    return chosen


def num_units(sequence: Shaped[np.ndarray, 'n']) -> int:
  """Units of three bases, the last of them perhaps not whole."""
  return -(-sequence.size // 3)


def of_task(task: Task, sample: UnitSample | None = None) -> Examples:
  """The rows of a task, in its order; units without a label have none."""
  sequence = np.arange(len(task.labels))
  groups = sequence if task.groups is None else task.groups
  if task.pooling != 'unit':
    if task.partners is not None and task.pooling != 'mean':
      raise ValueError(f'{task.name}: pairs have no {task.pooling} to pool')
    return Examples(task, task.labels, task.split, groups, sequence, None)
  if task.partners is not None:
    raise ValueError(f'{task.name}: pairs have no units to label')
  for index, (bases, labels) in enumerate(
    zip(task.sequences, task.labels, strict=True)
  ):
    if num_units(bases) != len(labels):
      raise ValueError(
        f'{task.name}: sequence {index} has {num_units(bases)} units and '
        f'{len(labels)} labels'
      )
  labels = np.concatenate(list(task.labels))
  lengths = np.array([len(track) for track in task.labels])
  sequence = np.repeat(sequence, lengths)
  unit = np.concatenate([np.arange(length) for length in lengths])
  kept = _kept(labels, task.split[sequence], sample or UnitSample())
  sequence = sequence[kept]
  return Examples(
    task,
    labels[kept],
    task.split[sequence],
    groups[sequence],
    sequence,
    unit[kept],
  )


def _kept(
  labels: Int[np.ndarray, 'u'],
  split: Shaped[np.ndarray, 'u'],
  sample: UnitSample,
) -> Int[np.ndarray, 'e']:
  """Indices of labelled units, train and validation cut down at random."""
  rng = np.random.default_rng(sample.seed)
  kept = [np.flatnonzero((labels != NO_LABEL) & (split == 'test'))]
  for name, limit in (
    ('train', sample.train),
    ('validation', sample.validation),
  ):
    units = np.flatnonzero((labels != NO_LABEL) & (split == name))
    kept.append(rng.permutation(units)[:limit])
  return np.sort(np.concatenate(kept))
