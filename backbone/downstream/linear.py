"""A linear model on features, its regularisation chosen on validation only."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from backbone.downstream import metrics
from data_pipelines.tasks import Task

# Inverse strength of the logistic penalty, strength of the ridge penalty.
LOGISTIC_GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
RIDGE_GRID = (1e0, 1e1, 1e2, 1e3, 1e4, 1e5)

_VALUE_ONLY = metrics.Bootstrap(num_resamples=1)


def _model(is_regression: bool, penalty: float, is_sparse: bool) -> Any:
  model = (
    Ridge(alpha=penalty)
    if is_regression
    else LogisticRegression(C=penalty, max_iter=300, tol=1e-3)
  )
  return make_pipeline(StandardScaler(with_mean=not is_sparse), model)


def fit(
  task: Task, features: Any, grid: Sequence[float] | None = None
) -> tuple[Any, float]:
  """The model fitted on train that is best on validation, and its score there.

  `features` has a row per example and may be a SciPy sparse matrix.
  """
  is_sparse = not isinstance(features, np.ndarray)
  grid = grid or (RIDGE_GRID if task.is_regression else LOGISTIC_GRID)
  train, validation = task.split == 'train', task.split == 'validation'
  best, best_value = None, -np.inf
  for penalty in grid:
    model = _model(task.is_regression, penalty, is_sparse)
    model.fit(features[train], task.labels[train])
    predicted = model.predict(features[validation])
    value = metrics.score(
      task.metric, task.labels[validation], predicted, _VALUE_ONLY
    ).value
    if best is None or value > best_value:
      best, best_value = model, value
  return best, best_value


def test_score(
  task: Task, model: Any, features: Any, bootstrap: metrics.Bootstrap
) -> metrics.Score:
  """The score on test, with its interval."""
  test = task.split == 'test'
  predicted = model.predict(features[test])
  return metrics.score(task.metric, task.labels[test], predicted, bootstrap)
