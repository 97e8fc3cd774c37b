"""Tables of GTA: correlations, intervals, baselines."""

import csv
import dataclasses

import numpy as np
import pytest
import scipy.stats

from backbone.downstream import metrics
from data_pipelines.errors import InputError
from data_pipelines.genes import features
from data_pipelines.genes.dataset import GeneWindows
from data_pipelines.genes.folds import ChromosomeFold
from gta import comparison
from gta.comparison import Comparison
from gta.ridge import RidgeOnCounts
from tests.gta import tiny


def _data(fold, genes=tiny.genes):
  return GeneWindows(
    genes=genes,
    split=ChromosomeFold(fold=fold, num_folds=3),
    before=48,
    after=96,
  )


def _write(folder, data, noise):
  folder.mkdir()
  rng = np.random.default_rng(0)
  with (folder / 'predictions.csv').open('w', newline='') as file:
    writer = csv.writer(file)
    writer.writerow(('gene', 'split', 'measured', 'predicted'))
    for gene, split in zip(data.found.genes, data.split_of, strict=True):
      predicted = gene.value + noise * rng.normal()
      writer.writerow((gene.name, split, gene.value, predicted))
  return str(folder)


@pytest.fixture
def made(tmp_path):
  data = tuple(_data(fold) for fold in range(2))
  runs = {
    name: tuple(
      _write(tmp_path / f'{name}{fold}', one, noise)
      for fold, one in enumerate(data)
    )
    for name, noise in (('good', 0.2), ('bad', 5.0))
  }
  return Comparison(
    title='A table',
    note='Of two.',
    data=data,
    runs=runs,
    baselines={'ridge_codons': RidgeOnCounts('codons')},
    differences=(('good', 'bad', 'less noise'),),
  )


def test_correlations_are_those_of_scipy_and_intervals_hold_them(made):
  predictions = made._predict()
  for metric, function in (
    ('pearson', scipy.stats.pearsonr),
    ('spearman', scipy.stats.spearmanr),
  ):
    for column, found in made._scores(metric, predictions).items():
      predicted = predictions[column]
      for fold, data in enumerate(made.data):
        is_test = data.split_of == 'test'
        truth = [gene.value for gene in data.found.genes]
        wanted = function(np.array(truth)[is_test], predicted[fold])[0]
        assert found.folds[fold] == pytest.approx(wanted, abs=1e-9)
      value, low, high = found.interval()
      assert low <= value <= high


def test_the_page_says_what_is_better(made, tmp_path):
  text = made.write(tmp_path / 'out', 'today')
  assert '| less noise | good - bad | +' in text
  assert 'genes, tested by fold: ' in text
  scores = made._scores('pearson', made._predict())
  good, bad = scores['good'], scores['bad']
  assert good.value > 0.9 > bad.value
  _, low, _ = good.interval(bad)
  assert low > 0
  assert (tmp_path / 'out' / 'table.md').read_text() == text
  picture = (tmp_path / 'out' / 'table.png').read_bytes()
  assert picture.startswith(b'\x89PNG')


def test_a_cluster_is_drawn_whole():
  clusters = np.array(list('aabccc'))
  truth = np.array([0.0, 1.0, 2.0, 3.0, 5.0, 8.0])
  predicted = np.array([1.0, 0.0, 3.0, 2.0, 6.0, 7.0])
  counts = np.array([[1, 1, 1], [2, 0, 1]])
  drawn = [[0, 1, 2, 3, 4, 5], [0, 1, 0, 1, 3, 4, 5]]
  for metric, function in (
    ('pearson', scipy.stats.pearsonr),
    ('spearman', scipy.stats.spearmanr),
  ):
    found = metrics.resampled(metric, truth, predicted, clusters, counts)
    wanted = [function(truth[rows], predicted[rows])[0] for rows in drawn]
    np.testing.assert_allclose(found, wanted, atol=1e-9)


def test_predictions_of_other_genes_are_refused(made, tmp_path):
  folder = tmp_path / 'other'
  folder.mkdir()
  (folder / 'predictions.csv').write_text('gene,split,measured,predicted\n')
  with pytest.raises(InputError, match='no prediction of gene g'):
    comparison._read(folder / 'predictions.csv', made.data[0])
  with pytest.raises(InputError, match='cannot be read'):
    comparison._read(tmp_path / 'predictions.csv', made.data[0])


@pytest.mark.parametrize(
  'counts', ['codons', 'upstream', 'words', 'codons_and_words']
)
def test_baselines_find_what_is_in_their_counts(counts):
  found = tiny.genes(240)
  rng = np.random.default_rng(1)
  genes = []
  for gene in found.genes:
    is_high = bool(rng.integers(2))
    text = 'ribosome subunit' if is_high else 'kinase of unknown'
    genes.append(dataclasses.replace(gene, value=float(is_high), text=text))
  planted = dataclasses.replace(found, genes=genes)
  data = _data(0, lambda: planted)
  predicted = RidgeOnCounts(counts)(data)
  assert predicted.shape == (240,)
  is_test = data.split_of == 'test'
  truth = np.array([gene.value for gene in genes])
  correlation = np.corrcoef(predicted[is_test], truth[is_test])[0, 1]
  assert (correlation > 0.9) == ('words' in counts)


def test_a_baseline_reads_features_that_were_computed_before(tmp_path):
  found = tiny.genes(240)
  rng = np.random.default_rng(1)
  values = rng.normal(size=240)
  genes = [
    dataclasses.replace(gene, value=float(value))
    for gene, value in zip(found.genes, values, strict=True)
  ]
  planted = dataclasses.replace(found, genes=genes)

  class Told:
    """Six sections, of which one beside the anchor knows the value."""

    label, before, after, first, section_bases, rows = 't', 48, 96, 0, 24, 240

    def __call__(self, genes, sequences):
      features = rng.normal(size=(len(sequences), 6, 4))
      features[:, 3, 2] = values[: len(sequences)]
      return features

  features.write(tmp_path / 'features', planted, Told())
  data = dataclasses.replace(
    _data(0, lambda: planted),
    features=features.WindowFeatures(str(tmp_path / 'features')),
  )
  is_test = data.split_of == 'test'
  predicted = RidgeOnCounts('sections')(data)[is_test]
  assert np.corrcoef(predicted, values[is_test])[0, 1] > 0.9
  with pytest.raises(InputError, match=r'give data\.features'):
    RidgeOnCounts('sections')(_data(0))
