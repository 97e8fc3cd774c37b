"""Scores of predictions, with bootstrap intervals over test examples.

A resample is how often each group of examples was drawn, so every metric is a
function of those counts alone: no example is ever copied.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int, Num, Shaped


@dataclasses.dataclass(frozen=True)
class Bootstrap:
  """How an interval is made: resamples of the examples, and its coverage."""

  num_resamples: int = 1000
  coverage: float = 0.95
  seed: int = 0


@dataclasses.dataclass(frozen=True)
class Score:
  value: float
  low: float
  high: float


# How often each group was drawn -> the metric, one per resample.
_OfCounts = Callable[[Num[np.ndarray, 'r g']], Float[np.ndarray, 'r']]

# Counts of one block of resamples: a few tens of megabytes.
_BLOCK_ELEMENTS = 2_500_000


def _divide(
  above: Float[np.ndarray, '*r'],
  below: Float[np.ndarray, '*r'],
  undefined: float,
) -> Float[np.ndarray, '*r']:
  return np.divide(
    above, below, out=np.full_like(above, undefined), where=below > 0
  )


def _sums(group: Int[np.ndarray, 'e'], terms: Any) -> _OfCounts:
  """Sums over a resample of terms [e, s] that just add up."""
  num = group.size
  members = scipy.sparse.csr_matrix((np.ones(num), (group, np.arange(num))))
  totals = members @ terms
  # The transposes keep the sparse factor on the left, where SciPy has a rule.
  return lambda counts: np.asarray((totals.T @ counts.T).T, np.float64)


def _codes(
  truth: Shaped[np.ndarray, 'e'], predicted: Shaped[np.ndarray, 'e']
) -> tuple[Int[np.ndarray, '2 e'], int]:
  """Both as classes counted from nought, and how many there are."""
  both = np.stack([truth, predicted])
  classes, codes = np.unique(both, return_inverse=True)
  return codes.reshape(both.shape), len(classes)


def _accuracy(
  truth: Shaped[np.ndarray, 'e'],
  predicted: Shaped[np.ndarray, 'e'],
  group: Int[np.ndarray, 'e'],
) -> _OfCounts:
  is_correct = truth == predicted
  sums = _sums(group, np.stack([is_correct, np.ones(group.size)], -1))
  return lambda counts: np.divide(*sums(counts).T)


def _mcc(
  truth: Shaped[np.ndarray, 'e'],
  predicted: Shaped[np.ndarray, 'e'],
  group: Int[np.ndarray, 'e'],
) -> _OfCounts:
  """Matthews correlation of any number of classes; 0 where undefined."""
  (true_code, code), num_classes = _codes(truth, predicted)
  cell = true_code * num_classes + code
  one_hot = scipy.sparse.csr_matrix(
    (np.ones(cell.size), (np.arange(cell.size), cell)),
    (cell.size, num_classes**2),
  )
  sums = _sums(group, one_hot)

  def value(counts: Num[np.ndarray, 'r g']) -> Float[np.ndarray, 'r']:
    confusion = sums(counts).reshape(-1, num_classes, num_classes)
    total = confusion.sum((-2, -1))
    correct = np.trace(confusion, axis1=-2, axis2=-1)
    rows, columns = confusion.sum(-1), confusion.sum(-2)
    above = correct * total - (rows * columns).sum(-1)
    below = (total**2 - (rows**2).sum(-1)) * (total**2 - (columns**2).sum(-1))
    return _divide(above, np.sqrt(below), 0.0)

  return value


def _macro_f1(
  truth: Shaped[np.ndarray, 'e'],
  predicted: Shaped[np.ndarray, 'e'],
  group: Int[np.ndarray, 'e'],
) -> _OfCounts:
  """Mean over classes of 2 TP / (2 TP + FP + FN); 0 of an absent class."""
  (true_code, code), num_classes = _codes(truth, predicted)
  classes = np.arange(num_classes)
  true, called = (code[:, None] == classes for code in (true_code, code))
  sums = _sums(group, np.concatenate([true & called, true, called], -1))

  def value(counts: Num[np.ndarray, 'r g']) -> Float[np.ndarray, 'r']:
    right, is_it, says_it = np.split(sums(counts), 3, axis=-1)
    return _divide(2 * right, is_it + says_it, 0.0).mean(-1)

  return value


def _correlation(sums: Float[np.ndarray, 'r 6']) -> Float[np.ndarray, 'r']:
  """From the sums of 1, x, y, xx, yy and xy; 0 where undefined."""
  num, x, y, xx, yy, xy = sums.T
  # Rounding can leave a variance of nothing a shade below nought.
  variances = [
    np.where(square > 1e-12 * whole, square, 0)
    for square, whole in ((xx - x**2 / num, xx), (yy - y**2 / num, yy))
  ]
  return _divide(xy - x * y / num, np.sqrt(variances[0] * variances[1]), 0.0)


def _pearson(
  truth: Shaped[np.ndarray, 'e'],
  predicted: Shaped[np.ndarray, 'e'],
  group: Int[np.ndarray, 'e'],
) -> _OfCounts:
  # Centred, so that the sums of squares keep their digits.
  x, y = (
    values - values.mean()
    for values in (truth.astype(np.float64), predicted.astype(np.float64))
  )
  terms = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], -1)
  sums = _sums(group, terms)
  return lambda counts: _correlation(sums(counts))


def _ranks(
  values: Shaped[np.ndarray, 'e'], weights: Float[np.ndarray, 'r e']
) -> Float[np.ndarray, 'r e']:
  """Mean ranks of values in resamples that hold each `weights` times."""
  order = np.argsort(values, kind='stable')
  in_order = values[order].astype(np.float64)
  is_first = np.diff(in_order, prepend=np.nan) != 0
  ties = np.add.reduceat(weights[:, order], np.flatnonzero(is_first), axis=-1)
  middle = ties.cumsum(-1) - ties / 2
  level = np.empty(values.size, np.int64)
  level[order] = is_first.cumsum() - 1
  return middle[:, level]


def _spearman(
  truth: Shaped[np.ndarray, 'e'],
  predicted: Shaped[np.ndarray, 'e'],
  group: Int[np.ndarray, 'e'],
) -> _OfCounts:
  """Correlation of ranks; ties share their mean rank, 0 where undefined."""

  def value(counts: Num[np.ndarray, 'r g']) -> Float[np.ndarray, 'r']:
    weights = counts[:, group].astype(np.float64)
    num = weights.sum(-1)
    centre = num[:, None] / 2
    x = _ranks(truth, weights) - centre
    y = _ranks(predicted, weights) - centre
    wx, wy = weights * x, weights * y
    # Ranks are centred, so their sums are nought.
    nought = np.zeros_like(num)
    squares = [
      np.einsum('re,re->r', a, b) for a, b in ((wx, x), (wy, y), (wx, y))
    ]
    return _correlation(np.stack([num, nought, nought, *squares], -1))

  return value


def _auroc(
  truth: Shaped[np.ndarray, 'e'],
  predicted: Shaped[np.ndarray, 'e'],
  group: Int[np.ndarray, 'e'],
) -> _OfCounts:
  """Area under the ROC curve of scores; 0.5 where a class is missing."""
  classes = np.unique(truth)
  if classes.size != 2:
    raise ValueError(f'auroc needs two classes, not {classes.tolist()}')
  is_positive = truth == classes[1]

  def value(counts: Num[np.ndarray, 'r g']) -> Float[np.ndarray, 'r']:
    weights = counts[:, group].astype(np.float64)
    # Negatives below each example, and half of those level with it.
    below = _ranks(predicted, weights * ~is_positive)
    positives = weights * is_positive
    num = positives.sum(-1)
    pairs = num * (weights.sum(-1) - num)
    return _divide(np.einsum('re,re->r', positives, below), pairs, 0.5)

  return value


_METRICS = {
  'mcc': _mcc,
  'macro_f1': _macro_f1,
  'accuracy': _accuracy,
  'auroc': _auroc,
  'pearson': _pearson,
  'spearman': _spearman,
}


def _with_interval(
  of_counts: _OfCounts, num_groups: int, num_examples: int, bootstrap: Bootstrap
) -> Score:
  """The value, and the quantiles of its values over resamples of the groups."""
  value = of_counts(np.ones((1, num_groups)))[0]
  rng = np.random.default_rng(bootstrap.seed)
  block = max(1, _BLOCK_ELEMENTS // max(num_examples, 1))
  resampled = []
  for first in range(0, bootstrap.num_resamples, block):
    num = min(block, bootstrap.num_resamples - first)
    drawn = rng.integers(0, num_groups, (num, num_groups))
    drawn += np.arange(num)[:, None] * num_groups
    counts = np.bincount(drawn.ravel(), minlength=num * num_groups)
    resampled.append(of_counts(counts.reshape(num, num_groups)))
  tail = (1 - bootstrap.coverage) / 2
  low, high = np.quantile(np.concatenate(resampled), [tail, 1 - tail])
  return Score(float(value), float(low), float(high))


def score(
  metric: str,
  truth: Shaped[np.ndarray, 'e'],
  predicted: Shaped[np.ndarray, 'e'],
  bootstrap: Bootstrap | None = None,
  groups: Shaped[np.ndarray, 'e'] | None = None,
) -> Score:
  """The metric and its percentile interval; classes may be any integers.

  `predicted` are classes, numbers, or for 'auroc' scores that grow with the
  greater of the two classes. Examples that share an entry of `groups` are drawn
  together (the units of a sequence, the pairs of a protein); None draws each by
  itself.
  """
  if metric not in _METRICS:
    raise ValueError(f'no metric {metric!r}; there are {", ".join(_METRICS)}')
  if groups is None:
    group, num_groups = np.arange(truth.size), truth.size
  else:
    names, group = np.unique(groups, return_inverse=True)
    num_groups = names.size
  of_counts = _METRICS[metric](truth, predicted, group)
  return _with_interval(
    of_counts, num_groups, truth.size, bootstrap or Bootstrap()
  )


def draws(num_groups: int, num: int, seed: int) -> Int[np.ndarray, 'r g']:
  """How often each of `num` resamples has each group; all once in front."""
  rng = np.random.default_rng(seed)
  even = np.full(num_groups, 1 / num_groups)
  drawn = rng.multinomial(num_groups, even, num)
  return np.concatenate([np.ones((1, num_groups), drawn.dtype), drawn])


def resampled(
  metric: str,
  truth: Shaped[np.ndarray, 'e'],
  predicted: Shaped[np.ndarray, 'e'],
  groups: Shaped[np.ndarray, 'e'],
  counts: Num[np.ndarray, 'r g'],
) -> Float[np.ndarray, 'r']:
  """The metric of given resamples, so that several models share them.

  Args:
    metric: As of `score`.
    truth: As of `score`.
    predicted: As of `score`.
    groups: As of `score`.
    counts: How often each resample has each group, in their sorted order.
  """
  group = np.unique(groups, return_inverse=True)[1]
  of_counts = _METRICS[metric](truth, predicted, group)
  block = max(_BLOCK_ELEMENTS // truth.size, 1)
  return np.concatenate(
    [
      of_counts(counts[first : first + block])
      for first in range(0, len(counts), block)
    ]
  )


def ratio(
  total: Float[np.ndarray, 'e'],
  weight: Float[np.ndarray, 'e'],
  bootstrap: Bootstrap | None = None,
) -> Score:
  """Σ total / Σ weight, and its percentile interval over the examples."""
  sums = _sums(np.arange(total.size), np.stack([total, weight], -1))
  return _with_interval(
    lambda counts: np.divide(*sums(counts).T),
    total.size,
    total.size,
    bootstrap or Bootstrap(),
  )
