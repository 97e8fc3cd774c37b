"""Metrics against scikit-learn, and intervals against theory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import (
  accuracy_score,
  f1_score,
  matthews_corrcoef,
  roc_auc_score,
)

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
  f1 = metrics.score('macro_f1', truth, predicted, once).value
  assert f1 == pytest.approx(f1_score(truth, predicted, average='macro'))
  accuracy = metrics.score('accuracy', truth, predicted, once).value
  assert accuracy == pytest.approx(accuracy_score(truth, predicted))


def test_pearson_equals_numpy():
  rng = np.random.default_rng(0)
  truth, noise = rng.normal(size=(2, 200))
  score = metrics.score('pearson', truth, truth + noise)
  assert score.value == pytest.approx(np.corrcoef(truth, truth + noise)[0, 1])
  assert metrics.score('pearson', truth, np.zeros(200)).value == 0


def _score_of(metric, truth, predicted):
  """The metric as SciPy or scikit-learn has it."""
  return {
    'accuracy': accuracy_score,
    'mcc': matthews_corrcoef,
    'auroc': roc_auc_score,
    'pearson': lambda x, y: pearsonr(x, y).statistic,
    'spearman': lambda x, y: spearmanr(x, y).statistic,
  }[metric](truth, predicted)


def _examples(metric, num=90):
  """Truth and predictions with many ties."""
  rng = np.random.default_rng(4)
  truth = rng.integers(0, 2 if metric == 'auroc' else 5, num)
  noise = rng.integers(-2, 3, num) * (rng.random(num) < 0.5)
  return truth, truth + noise


@pytest.mark.parametrize('metric', ['spearman', 'auroc'])
def test_ranks_with_ties_equal_scipy_and_scikit_learn(metric):
  truth, predicted = _examples(metric)
  value = metrics.score(metric, truth, predicted * 0.1).value
  assert value == pytest.approx(_score_of(metric, truth, predicted))
  # Neither is moved by what keeps the order.
  assert metrics.score(metric, truth, np.exp(predicted)).value == value


def test_ranks_are_undefined_without_a_spread():
  truth, _ = _examples('spearman')
  assert metrics.score('spearman', truth, np.zeros(truth.size)).value == 0
  truth, _ = _examples('auroc')
  assert metrics.score('auroc', truth, np.zeros(truth.size)).value == 0.5
  with pytest.raises(ValueError, match='two classes'):
    metrics.score('auroc', np.arange(3), np.zeros(3))


@pytest.mark.parametrize('is_grouped', [False, True])
@pytest.mark.parametrize(
  'metric', ['mcc', 'accuracy', 'auroc', 'pearson', 'spearman']
)
def test_interval_is_that_of_copied_examples(metric, is_grouped):
  truth, predicted = _examples(metric)
  groups = np.arange(truth.size) % 15 if is_grouped else None
  config = metrics.Bootstrap(num_resamples=40, coverage=0.8, seed=3)
  found = metrics.score(metric, truth, predicted, config, groups)
  members = np.arange(truth.size)
  members = members.reshape(-1, 15).T if is_grouped else members[:, None]
  drawn = np.random.default_rng(3).integers(0, len(members), (40, len(members)))
  values = [
    _score_of(metric, truth[i], predicted[i])
    for i in (members[row].ravel() for row in drawn)
  ]
  low, high = np.quantile(values, [0.1, 0.9])
  assert found.low == pytest.approx(low)
  assert found.high == pytest.approx(high)


def test_grouped_interval_is_wider_where_groups_agree():
  rng = np.random.default_rng(5)
  is_correct = np.repeat(rng.random(100) < 0.7, 20).astype(np.int64)
  truth = np.ones_like(is_correct)
  alone = metrics.score('accuracy', truth, is_correct)
  together = metrics.score(
    'accuracy', truth, is_correct, groups=np.repeat(np.arange(100), 20)
  )
  assert together.value == alone.value
  ratio = (together.high - together.low) / (alone.high - alone.low)
  assert ratio == pytest.approx(np.sqrt(20), rel=0.15)


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
