"""A labelled data set: sequences, labels and which split each belongs to."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Shaped

METRICS = ('mcc', 'accuracy', 'pearson')


@dataclasses.dataclass(frozen=True)
class Task:
  """What a probe is fitted on (train), tuned on (validation), scored on (test).

  Attributes:
    name: Row of a results table.
    sequences: Bases A C G T N = 0..4 on the sense strand, one array each.
    labels: Class per sequence, or a number where the metric is `pearson`.
    split: 'train', 'validation' or 'test' per sequence.
    metric: What is reported.
    pooling: Mean over the units, or the unit in the centre.
  """

  name: str
  sequences: Sequence[np.ndarray]
  labels: Shaped[np.ndarray, 'e']
  split: Shaped[np.ndarray, 'e']
  metric: Literal['mcc', 'accuracy', 'pearson'] = 'mcc'
  pooling: Literal['mean', 'centre'] = 'mean'

  def __post_init__(self):
    if not len(self.sequences) == len(self.labels) == len(self.split):
      raise ValueError(f'{self.name}: sequences, labels and split differ')

  @property
  def is_regression(self) -> bool:
    return self.metric == 'pearson'
