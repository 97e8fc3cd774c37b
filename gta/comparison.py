"""A table of models of the same held-out genes, and of what each part adds."""

import csv
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib import pyplot as plt

from backbone.downstream import metrics
from data_pipelines.errors import InputError
from data_pipelines.genes.dataset import GeneWindows
from gta import page
from gta.ridge import RidgeOnCounts

_METRICS = ('pearson', 'spearman')
_RESAMPLES = 1_000
# By column, of each fold: one for every test gene.
Predictions = Mapping[str, Sequence[Float[np.ndarray, '_']]]


@dataclasses.dataclass(frozen=True)
class Scores:
  """Of one column: the mean over folds, and the same of every resample."""

  folds: Float[np.ndarray, 'f']
  value: float
  resampled: Float[np.ndarray, 'r']

  def interval(self, base: 'Scores | None' = None) -> tuple[float, ...]:
    """Value and 95 % interval, or those of the difference from `base`."""
    value, resampled = self.value, self.resampled
    if base is not None:
      value, resampled = value - base.value, resampled - base.resampled
    low, high = np.quantile(resampled, (0.025, 0.975))
    return value, float(low), float(high)


@dataclasses.dataclass(frozen=True)
class Comparison:
  """Columns of predictions of the test genes of every fold.

  Attributes:
    title: Of the page.
    note: Below it.
    data: The genes, a fold each.
    runs: By column, a folder with predictions.csv for each fold.
    baselines: By column, what is fitted here.
    differences: Two columns each, and what their difference is the worth of.
  """

  title: str
  note: str
  data: tuple[GeneWindows, ...]
  runs: Mapping[str, tuple[str, ...]]
  baselines: Mapping[str, RidgeOnCounts]
  differences: tuple[tuple[str, str, str], ...] = ()

  def write(self, out: pathlib.Path, head: str) -> str:
    """Writes table.md, table.png and results.json; returns the Markdown."""
    predicted = self._predict()
    scores = {metric: self._scores(metric, predicted) for metric in _METRICS}
    parts = [
      *(f'# {self.title}', '', head, '', self.note, ''),
      *(self._about_genes(), '', *self._grid(scores), ''),
      *(*self._worth(scores['pearson']), ''),
    ]
    out.mkdir(parents=True, exist_ok=True)
    self._draw(scores['pearson'], out / 'table.png')
    results = {
      metric: {
        column: {'folds': found.folds.tolist(), 'mean': found.interval()}
        for column, found in of_metric.items()
      }
      for metric, of_metric in scores.items()
    }
    return page.write(out, parts, results)

  def _about_genes(self) -> str:
    """How many there are, and what was left out."""
    genes = self.data[0].found
    tested = ', '.join(f'{_is_test(data).sum():,}' for data in self.data)
    return (
      f'{len(genes.genes):,} genes, tested by fold: {tested}. '
      + ''.join(f'{note}. ' for note in genes.notes)
    ).strip()

  def _scores(self, metric: str, predicted: Predictions) -> dict[str, Scores]:
    """All columns on the same resamples of clusters."""
    draws, truth, clusters = [], [], []
    for fold, data in enumerate(self.data):
      genes = [data.found.genes[i] for i in np.flatnonzero(_is_test(data))]
      clusters.append(np.array([gene.cluster or gene.name for gene in genes]))
      number = len(np.unique(clusters[-1]))
      draws.append(metrics.draws(number, _RESAMPLES, fold))
      truth.append(np.array([gene.value for gene in genes]))
    found = {}
    for column, of_fold in predicted.items():
      each = [
        metrics.resampled(metric, *arrays)
        for arrays in zip(truth, of_fold, clusters, draws, strict=True)
      ]
      folds = np.array([values[0] for values in each])
      resampled = np.mean([values[1:] for values in each], axis=0)
      found[column] = Scores(folds, float(folds.mean()), resampled)
    return found

  def _predict(self) -> Predictions:
    """Of the test genes of each fold, by column."""
    found = {}
    for column, ridge in self.baselines.items():
      found[column] = [ridge(data)[_is_test(data)] for data in self.data]
    for column, folders in self.runs.items():
      found[column] = [
        _read(pathlib.Path(folder) / 'predictions.csv', data)
        for folder, data in zip(folders, self.data, strict=True)
      ]
    return found

  def _grid(self, scores: Mapping[str, Mapping[str, Scores]]) -> list[str]:
    folds = [f'fold {fold}' for fold in range(len(self.data))]
    head = ['column', 'Pearson', 'Spearman', *folds]
    rows = []
    for column, found in scores['pearson'].items():
      cells = [
        page.interval(*scores[metric][column].interval()) for metric in _METRICS
      ]
      rows.append([column, *cells, *(f'{value:.3f}' for value in found.folds)])
    return page.grid(head, rows)

  def _worth(self, scores: Mapping[str, Scores]) -> list[str]:
    if not self.differences:
      return []
    rows = []
    for one, other, what in self.differences:
      value = scores[one].interval(scores[other])
      rows.append([what, f'{one} - {other}', page.interval(*value, '+')])
    return [
      'Differences of Pearson correlations, over the same resamples:',
      '',
      *page.grid(['what', 'of', 'difference'], rows),
    ]

  def _draw(self, scores: Mapping[str, Scores], path: pathlib.Path) -> None:
    mpl.use('Agg')
    figure, axes = plt.subplots(figsize=(7, 0.35 * len(scores) + 1))
    for row, (column, found) in enumerate(reversed(scores.items())):
      value, low, high = found.interval()
      is_run = column in self.runs
      axes.plot([low, high], [row, row], color='C0' if is_run else 'C7')
      axes.plot(value, row, 'o', color='C0' if is_run else 'C7')
      axes.plot(found.folds, [row] * len(found.folds), '|', color='0.6')
    axes.set_yticks(range(len(scores)), list(reversed(scores)))
    axes.set_xlabel('Pearson correlation, mean over folds (ticks: each fold)')
    axes.grid(axis='x', alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _is_test(data: GeneWindows) -> np.ndarray:
  return data.split_of == 'test'


def _read(path: pathlib.Path, data: GeneWindows) -> Float[np.ndarray, '_']:
  """Predictions of the test genes, in the order of the data."""
  try:
    with path.open(newline='') as file:
      rows = [row for row in csv.DictReader(file) if row['split'] == 'test']
  except OSError as error:
    raise InputError(f'{path}: cannot be read ({error})') from error
  by_name = {row['gene']: float(row['predicted']) for row in rows}
  names = [data.found.genes[i].name for i in np.flatnonzero(_is_test(data))]
  if missing := [name for name in names if name not in by_name]:
    raise InputError(
      f'{path}: no prediction of gene {missing[0]}; was it of other data?'
    )
  return np.array([by_name[name] for name in names])
