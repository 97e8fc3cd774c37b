"""Metrics against scikit-learn, and intervals against theory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, matthews_corrcoef

from backbone.downstream import metrics


@settings(max_examples=30, deadline=None)
@given(
  st.integers(2, 5),
  st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2),
)
def test_classification_equals_scikit_learn(num_classes, pairs):
  truth, predicted = np.array(pairs).T % num_classes - 1
  once = metrics.Bootstrap(num_resamples=2)
  mcc = metrics.score('mcc', truth, predicted, once).value
  assert mcc == pytest.approx(matthews_corrcoef(truth, predicted), abs=1e-9)
  accuracy = metrics.score('accuracy', truth, predicted, once).value
  assert accuracy == pytest.approx(accuracy_score(truth, predicted))


def test_pearson_equals_numpy():
  rng = np.random.default_rng(0)
  truth, noise = rng.normal(size=(2, 200))
  score = metrics.score('pearson', truth, truth + noise)
  assert score.value == pytest.approx(np.corrcoef(truth, truth + noise)[0, 1])
  assert metrics.score('pearson', truth, np.zeros(200)).value == 0


def test_accuracy_interval_is_the_binomial_one():
  truth = np.zeros(1000, np.int64)
  predicted = (np.arange(1000) < 200).astype(np.int64)
  score = metrics.score('accuracy', truth, predicted)
  half = 1.96 * np.sqrt(0.8 * 0.2 / 1000)
  assert score.low == pytest.approx(0.8 - half, abs=0.005)
  assert score.high == pytest.approx(0.8 + half, abs=0.005)


def test_interval_narrows_with_examples_and_repeats_by_seed():
  rng = np.random.default_rng(0)
  truth, predicted = rng.integers(0, 2, (2, 4000))
  predicted = np.where(rng.random(4000) < 0.7, truth, predicted)
  few = metrics.score('mcc', truth[:250], predicted[:250])
  many = metrics.score('mcc', truth, predicted)
  assert many.low < many.value < many.high
  assert few.high - few.low > 2.5 * (many.high - many.low)
  assert many == metrics.score('mcc', truth, predicted)


def test_unknown_metric_is_refused():
  with pytest.raises(ValueError, match='no metric'):
    metrics.score('f1', np.array([0, 1]), np.array([0, 1]))
