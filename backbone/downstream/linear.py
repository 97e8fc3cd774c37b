"""A linear model on features, its regularisation chosen on validation only."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Shaped
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from backbone.downstream import metrics
from backbone.downstream.examples import Examples

# Inverse strength of the logistic penalty, strength of the ridge penalty.
LOGISTIC_GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
RIDGE_GRID = (1e0, 1e1, 1e2, 1e3, 1e4, 1e5)
# The same for indicators, which are left on their own scale.
INDICATOR_LOGISTIC_GRID = (1e-2, 1e-1, 1.0, 1e1)
INDICATOR_RIDGE_GRID = (1e-1, 1e0, 1e1, 1e2)

_VALUE_ONLY = metrics.Bootstrap(num_resamples=1)


def _grid(is_regression: bool, is_scaled: bool) -> Sequence[float]:
  if is_scaled:
    return RIDGE_GRID if is_regression else LOGISTIC_GRID
  return INDICATOR_RIDGE_GRID if is_regression else INDICATOR_LOGISTIC_GRID


def _predict(
  examples: Examples, model: Any, features: Any
) -> Shaped[np.ndarray, 'e']:
  """Classes or numbers; for an area under a curve the distance from it."""
  if examples.task.metric == 'auroc':
    return model.decision_function(features)
  return model.predict(features)


def fit(
  examples: Examples,
  features: Any,
  grid: Sequence[float] | None = None,
  is_scaled: bool = True,
) -> tuple[Any, float]:
  """The model fitted on train that is best on validation, and its score there.

  `features` has a row per example and may be a SciPy sparse matrix. With
  `is_scaled` each column is divided by its deviation on train; indicators of
  rare events are better left as they are.
  """
  is_dense = isinstance(features, np.ndarray)
  is_regression = examples.task.is_regression
  train = examples.of_split('train')
  validation = examples.of_split('validation')
  # Fitted once: a pipeline with a fitted first step predicts as it should.
  scaler = StandardScaler(with_mean=is_scaled and is_dense, with_std=is_scaled)
  fitted_on = scaler.fit_transform(features[train])
  best, best_value = None, -np.inf
  for penalty in grid or _grid(is_regression, is_scaled):
    model = (
      Ridge(alpha=penalty)
      if is_regression
      else LogisticRegression(C=penalty, max_iter=300, tol=1e-3)
    )
    model.fit(fitted_on, examples.labels[train])
    candidate = make_pipeline(scaler, model)
    value = metrics.score(
      examples.task.metric,
      examples.labels[validation],
      _predict(examples, candidate, features[validation]),
      _VALUE_ONLY,
    ).value
    if best is None or value > best_value:
      best, best_value = candidate, value
  return best, best_value


def test_score(
  examples: Examples, model: Any, features: Any, bootstrap: metrics.Bootstrap
) -> metrics.Score:
  """The score on the whole test set, with its interval over groups."""
  test = examples.of_split('test')
  return metrics.score(
    examples.task.metric,
    examples.labels[test],
    _predict(examples, model, features[test]),
    bootstrap,
    examples.groups[test],
  )
