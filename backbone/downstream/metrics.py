"""Scores of predictions, with bootstrap intervals over test examples."""

import dataclasses

import numpy as np
from jaxtyping import Float, Int, Shaped


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


# Resamples at a time: keeps the index array at a few tens of megabytes.
_BLOCK = 250


def _confusion(
  truth: Int[np.ndarray, '*r e'], predicted: Int[np.ndarray, '*r e'], num: int
) -> Int[np.ndarray, 'r k k']:
  """Confusion matrices, one per leading index, truth in rows."""
  code = (truth * num + predicted).reshape(-1, truth.shape[-1])
  code = code + np.arange(len(code))[:, None] * num**2
  counts = np.bincount(code.ravel(), minlength=len(code) * num**2)
  return counts.reshape(-1, num, num)


def _mcc(confusion: Int[np.ndarray, 'r k k']) -> Float[np.ndarray, 'r']:
  """Matthews correlation of any number of classes; 0 where undefined."""
  confusion = confusion.astype(np.float64)
  total = confusion.sum((-2, -1))
  correct = np.trace(confusion, axis1=-2, axis2=-1)
  truth, predicted = confusion.sum(-1), confusion.sum(-2)
  above = correct * total - (truth * predicted).sum(-1)
  below = np.sqrt(
    (total**2 - (truth**2).sum(-1)) * (total**2 - (predicted**2).sum(-1))
  )
  return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _pearson(
  truth: Float[np.ndarray, 'r e'], predicted: Float[np.ndarray, 'r e']
) -> Float[np.ndarray, 'r']:
  truth = truth - truth.mean(-1, keepdims=True)
  predicted = predicted - predicted.mean(-1, keepdims=True)
  above = (truth * predicted).sum(-1)
  below = np.sqrt((truth**2).sum(-1) * (predicted**2).sum(-1))
  return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _values(
  metric: str, truth: np.ndarray, predicted: np.ndarray, num_classes: int
) -> Float[np.ndarray, 'r']:
  if metric == 'pearson':
    return _pearson(truth, predicted)
  if metric == 'accuracy':
    return (truth == predicted).mean(-1)
  if metric == 'mcc':
    return _mcc(_confusion(truth, predicted, num_classes))
  raise ValueError(f'no metric {metric!r}; there are mcc, accuracy, pearson')


def score(
  metric: str,
  truth: Shaped[np.ndarray, 'e'],
  predicted: Shaped[np.ndarray, 'e'],
  bootstrap: Bootstrap | None = None,
) -> Score:
  """The metric and its percentile interval; classes may be any integers."""
  bootstrap = bootstrap or Bootstrap()
  num_classes = 0
  if metric == 'pearson':
    truth = truth.astype(np.float64)
    predicted = predicted.astype(np.float64)
  else:
    classes, codes = np.unique(
      np.concatenate([truth, predicted]), return_inverse=True
    )
    truth, predicted = np.split(codes.ravel(), 2)
    num_classes = len(classes)
  value = _values(metric, truth[None], predicted[None], num_classes)[0]
  rng = np.random.default_rng(bootstrap.seed)
  resampled = []
  for first in range(0, bootstrap.num_resamples, _BLOCK):
    num = min(_BLOCK, bootstrap.num_resamples - first)
    index = rng.integers(0, truth.size, (num, truth.size))
    resampled.append(
      _values(metric, truth[index], predicted[index], num_classes)
    )
  tail = (1 - bootstrap.coverage) / 2
  low, high = np.quantile(np.concatenate(resampled), [tail, 1 - tail])
  return Score(float(value), float(low), float(high))


def ratio(
  total: Float[np.ndarray, 'e'],
  weight: Float[np.ndarray, 'e'],
  bootstrap: Bootstrap | None = None,
) -> Score:
  """Σ total / Σ weight, and its percentile interval over the examples."""
  bootstrap = bootstrap or Bootstrap()
  rng = np.random.default_rng(bootstrap.seed)
  resampled = []
  for first in range(0, bootstrap.num_resamples, _BLOCK):
    num = min(_BLOCK, bootstrap.num_resamples - first)
    index = rng.integers(0, total.size, (num, total.size))
    resampled.append(total[index].sum(-1) / weight[index].sum(-1))
  tail = (1 - bootstrap.coverage) / 2
  low, high = np.quantile(np.concatenate(resampled), [tail, 1 - tail])
  return Score(float(total.sum() / weight.sum()), float(low), float(high))
