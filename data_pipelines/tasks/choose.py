"""Which examples train, tune and test, and how many of them are taken."""

import dataclasses
from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Int, Shaped

from data_pipelines import records
from data_pipelines.errors import InputError


@dataclasses.dataclass(frozen=True)
class RandomSplit:
  """Deals examples out by a key, so that equal keys stay together.

  Attributes:
    validation: Share of the keys.
    test: Share of the keys.
    seed: Of the draw.
  """

  validation: float = 0.1
  test: float = 0.2
  seed: int = 0

  def __post_init__(self):
    held_out = self.validation + self.test
    if min(self.validation, self.test) <= 0 or held_out >= 1:
      raise InputError(
        f'split {self.validation} and {self.test}: two shares above 0 that '
        'leave something to train on'
      )

  def __call__(self, keys: Sequence[Hashable]) -> Shaped[np.ndarray, 'e']:
    """'train', 'validation' or 'test' for each key, in any order of them."""
    distinct = sorted(set(keys))
    order = np.random.default_rng(self.seed).permutation(len(distinct))
    num_test = round(self.test * len(distinct))
    num_held_out = num_test + round(self.validation * len(distinct))
    split_of = {
      distinct[i]: 'test'
      if rank < num_test
      else 'validation'
      if rank < num_held_out
      else 'train'
      for rank, i in enumerate(order.tolist())
    }
    return np.array([split_of[key] for key in keys])


@dataclasses.dataclass(frozen=True)
class Limits:
  """How many examples of each split are taken at most; None is all.

  Attributes:
    train: Of the training set.
    validation: Of the validation set.
    test: Of the test set: a score then is not that of the published test set.
    seed: Of the draw.
  """

  train: int | None = None
  validation: int | None = None
  test: int | None = None
  seed: int = 0

  def kept(self, split: Shaped[np.ndarray, 'e']) -> Int[np.ndarray, 'k']:
    """Indices of the examples taken, in their order."""
    rng = np.random.default_rng(self.seed)
    chosen = [
      rng.permutation(np.flatnonzero(split == name))[: getattr(self, name)]
      for name in records.SPLITS
    ]
    return np.sort(np.concatenate(chosen))

  def notes(self, split: Shaped[np.ndarray, 'e']) -> tuple[str, ...]:
    """What is left out of each split."""
    numbers = {name: int((split == name).sum()) for name in records.SPLITS}
    return tuple(
      f'{name}: {limit:,} of {number:,} examples taken, seed {self.seed}'
      for name, number in numbers.items()
      if (limit := getattr(self, name)) is not None and limit < number
    )
