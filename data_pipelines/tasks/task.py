"""A labelled data set: sequences, labels and which split each belongs to."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Shaped

from data_pipelines import records

Metric = Literal['mcc', 'macro_f1', 'accuracy', 'auroc', 'pearson', 'spearman']
Pooling = Literal['mean', 'centre', 'unit']

REGRESSION_METRICS = ('pearson', 'spearman')
# In a track of labels: the unit has none, and is not scored.
NO_LABEL = -1


@dataclasses.dataclass(frozen=True)
class Task:
  """What a head is fitted on (train), tuned on (validation), scored on (test).

  Attributes:
    name: Row of a results table.
    sequences: Bases A C G T N = 0..4 on the sense strand, one array each.
    labels: Class per sequence, or a number where the metric is one of
      `REGRESSION_METRICS`; with `pooling` 'unit' an array of objects, each the
      classes of a sequence's units of three bases, `NO_LABEL` where unknown.
    split: 'train', 'validation' or 'test' per sequence.
    metric: What is reported.
    pooling: What is labelled: the mean over the units, the unit in the centre,
      or every unit.
    partners: The second sequence of each pair; None where there are no pairs.
    kind: Index into `records.KINDS`; CDS and protein are codons from the first
      base on.
    partner_kind: The same for `partners`.
    genetic_code: NCBI table of the codons.
    groups: Examples of one entry depend on each other: intervals are over the
      groups. None where each example stands alone; the units of a sequence are
      always together.
    notes: What of the source is not in the task, counted: one line each.
  """

  name: str
  sequences: Sequence[np.ndarray]
  labels: Shaped[np.ndarray, 'e']
  split: Shaped[np.ndarray, 'e']
  metric: Metric = 'mcc'
  pooling: Pooling = 'mean'
  partners: Sequence[np.ndarray] | None = None
  kind: int = records.GENOME
  partner_kind: int = records.GENOME
  genetic_code: int = 1
  groups: Shaped[np.ndarray, 'e'] | None = None
  notes: tuple[str, ...] = ()

  def __post_init__(self):
    if not len(self.sequences) == len(self.labels) == len(self.split):
      raise ValueError(f'{self.name}: sequences, labels and split differ')
    if self.partners is not None and len(self.partners) != len(self.labels):
      raise ValueError(f'{self.name}: sequences and partners differ')
    if self.groups is not None and len(self.groups) != len(self.labels):
      raise ValueError(f'{self.name}: sequences and groups differ')

  @property
  def is_regression(self) -> bool:
    return self.metric in REGRESSION_METRICS
