"""Scores of genes on chromosomes that were not trained on."""

import csv
import dataclasses
from typing import Any

import jax
import numpy as np
from flax import nnx

from backbone.downstream import metrics
from backbone.train.evaluate import Context
from backbone.train.state import split_model, to_device


@dataclasses.dataclass(frozen=True)
class HeldOut:
  """Correlations of predicted and measured values.

  Predictions are left in predictions.csv of the run.

  Attributes:
    splits: Whose genes.
    bootstrap: Of the intervals, over clusters of genes.
  """

  splits: tuple[str, ...] = ('validation', 'test')
  bootstrap: metrics.Bootstrap = dataclasses.field(
    default_factory=metrics.Bootstrap
  )

  def rows(self, context: Context) -> list[dict[str, Any]]:
    """Pearson and Spearman of each split, of the trained and random model."""
    data = context.data
    genes = data.found.genes
    clusters = np.array([gene.cluster or gene.name for gene in genes])
    truth = np.array([gene.value for gene in genes])
    columns = {
      'trained': (context.model, context.aux),
      'random_weights': (context.random_model, context.random_aux),
    }
    run = _Predictions(context)
    rows, lines = [], []
    for split in self.splits:
      for column, (model, aux) in columns.items():
        index, predicted = run(model, aux, split)
        if column == 'trained':
          lines += [
            (genes[i].name, split, truth[i], round(float(value), 5))
            for i, value in zip(index.tolist(), predicted, strict=True)
          ]
        for metric in ('pearson', 'spearman'):
          score = metrics.score(
            metric, truth[index], predicted, self.bootstrap, clusters[index]
          )
          rows.append(
            {
              'table': 'held_out',
              'task': 'expression',
              'split': split,
              'metric': metric,
              'column': column,
              'seed': context.seed,
              **dataclasses.asdict(score),
            }
          )
    _write(context.workdir / 'predictions.csv', lines)
    return rows


class _Predictions:
  """Values in the units of the table, by one compiled function."""

  def __init__(self, context: Context):
    graph, _ = split_model(context.model)
    objective, self._context = context.objective, context
    self._predict = jax.jit(
      lambda params, aux, batch: (
        objective.predict(nnx.merge(graph, params), aux, batch).value
      )
    )

  def __call__(self, model, aux, split: str) -> tuple[np.ndarray, np.ndarray]:
    data, mesh = self._context.data, self._context.mesh
    params = split_model(model)[1]
    (_, batches), *_ = data.evaluation(split)
    index, values = [], []
    with jax.set_mesh(mesh):
      for batch in batches:
        is_real = batch['weight'][:, 0] > 0
        found = self._predict(params, aux, to_device(batch, mesh))
        values.append(np.asarray(found)[is_real])
        index.append(batch['gene'][is_real, 0])
    mean, deviation = data.scale
    return np.concatenate(index), np.concatenate(values) * deviation + mean


def _write(path, lines) -> None:
  aside = path.with_name(path.name + '.tmp')
  with aside.open('w', newline='') as file:
    writer = csv.writer(file)
    writer.writerow(('gene', 'split', 'measured', 'predicted'))
    writer.writerows(lines)
  aside.replace(path)
