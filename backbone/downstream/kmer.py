"""The baseline of every table: logistic or ridge regression on k-mer counts."""

import dataclasses

import numpy as np
import scipy.sparse
from jaxtyping import Int, UInt8

from backbone.downstream import linear, metrics
from data_pipelines import records
from data_pipelines.tasks import Task


@dataclasses.dataclass(frozen=True)
class KmerConfig:
  """Which counts are tried.

  Attributes:
    ks: Lengths, chosen among on validation.
    num_buckets: k-mers beyond this many are hashed together.
  """

  ks: tuple[int, ...] = (3, 4, 5, 6)
  num_buckets: int = 4096


# A prime: counts of different k-mers then collide without a pattern.
_HASH = 2_654_435_761


def _codes(
  sequence: UInt8[np.ndarray, 'n'], k: int
) -> tuple[Int[np.ndarray, 'w'], Int[np.ndarray, 'w']]:
  """Start and code of every k-mer without an ambiguous base."""
  if sequence.size < k:
    return np.zeros(0, np.int64), np.zeros(0, np.int64)
  grams = np.lib.stride_tricks.sliding_window_view(sequence, k)
  start = np.flatnonzero((grams < records.N).all(-1))
  return start, grams[start] @ (4 ** np.arange(k)[::-1])


def counts(task: Task, k: int, num_buckets: int) -> scipy.sparse.csr_matrix:
  """Counts of k-mers per example, as a share of the example's k-mers.

  Where the label is of the centre, k-mers left and right of it, and those in
  each of the three frames, are counted apart: an encoder of codon-sized units
  is told both as well.
  """
  num_groups = 1 if task.pooling == 'mean' else 6
  rows, columns, values = [], [], []
  for index, sequence in enumerate(task.sequences):
    start, code = _codes(sequence, k)
    if num_groups > 1:
      centre = sequence.size // 3 // 2 * 3
      group = (start >= centre) * 3 + (start - centre) % 3
      code = code * num_groups + group
    if num_groups * 4**k > num_buckets:
      code = code * _HASH % 2**32 % num_buckets
    rows.append(np.full(code.size, index))
    columns.append(code)
    values.append(np.full(code.size, 1 / max(code.size, 1)))
  width = min(num_groups * 4**k, num_buckets)
  place = (np.concatenate(rows), np.concatenate(columns))
  # The constructor adds up repeated places.
  return scipy.sparse.csr_matrix(
    (np.concatenate(values), place), (len(task.sequences), width)
  )


def evaluate(
  task: Task,
  bootstrap: metrics.Bootstrap,
  config: KmerConfig | None = None,
) -> tuple[metrics.Score, int]:
  """The test score of the best k on validation, and that k."""
  config = config or KmerConfig()
  best = None
  for k in config.ks:
    features = counts(task, k, config.num_buckets)
    model, value = linear.fit(task, features)
    if best is None or value > best[0]:
      best = (value, k, model, features)
  _, k, model, features = best
  return linear.test_score(task, model, features, bootstrap), k
