"""Perplexity of masked residues on held-out records, beside its floor."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float

from backbone.downstream import metrics, table
from data_pipelines.records import AMINO_ACIDS
from lifecode.teacher.esm2 import VOCABULARY
from lifecode.teacher.proteins import TOKENS, pack


@dataclasses.dataclass(frozen=True)
class Perplexity:
  """exp of the mean surprise of a masked residue, at the same positions.

  Columns are the trained model, the same with random weights, and the
  frequencies of residues in the training split, which know no neighbours.

  Attributes:
    split: Where to measure.
    max_rows: Rows of each data set and kind.
    bootstrap: Of the intervals, over rows.
  """

  split: str = 'test'
  max_rows: int | None = None
  bootstrap: metrics.Bootstrap = dataclasses.field(
    default_factory=metrics.Bootstrap
  )

  def rows(self, context: Any) -> list[table.Row]:
    """One row per data set, kind with residues, and column."""
    measure = _make_measure(context, _surprise_of_residue(context.data))
    held_out = context.data.evaluation(self.split, max_rows=self.max_rows)
    found = []
    for task, batches in held_out:
      parts = [measure(batches[i], i) for i in range(len(batches))]
      totals = {
        name: np.concatenate([part[name] for part in parts])
        for name in parts[0]
      }
      weight = totals.pop('weight')
      is_used = weight > 0
      for column, total in totals.items() if is_used.any() else ():
        score = metrics.ratio(total[is_used], weight[is_used], self.bootstrap)
        found.append(
          table.row(
            'protein_lm',
            task,
            'perplexity',
            column,
            _exp(score),
            seed=context.seed,
            split=self.split,
          )
        )
    return found


def _exp(score: metrics.Score) -> metrics.Score:
  bounds = dataclasses.asdict(score).items()
  return metrics.Score(**{name: float(np.exp(x)) for name, x in bounds})


def _make_measure(context: Any, floor: Float[np.ndarray, '33']):
  """From a batch and its number to sums over the masked residues of rows."""
  objective, key = context.objective, jax.random.key(context.seed)
  graph, trained = nnx.split(context.model)
  models = {
    'pretrained': trained,
    'random_weights': nnx.split(context.random_model)[1],
  }

  @jax.jit
  def run(params, batch, number):
    model, batch_key = nnx.merge(graph, params), jax.random.fold_in(key, number)
    surprise, _, is_target = objective.surprise(
      model, batch, batch_key, train=False
    )
    tokens = pack(batch, objective.max_proteins).tokens
    frequencies = jnp.where(is_target, jnp.asarray(floor)[tokens], 0)
    return surprise.sum(-1), frequencies.sum(-1), is_target.sum(-1)

  def measure(batch, number):
    batch = jax.tree.map(jnp.asarray, batch)
    sums = {name: run(params, batch, number) for name, params in models.items()}
    _, frequencies, weight = sums['pretrained']
    columns = {name: total for name, (total, _, _) in sums.items()}
    columns |= {'frequencies': frequencies, 'weight': weight}
    return {name: np.asarray(x, np.float64) for name, x in columns.items()}

  return measure


def _surprise_of_residue(data: Any) -> Float[np.ndarray, '33']:
  """-ln of the share of each token among the residues to train on."""
  counts = np.ones(len(AMINO_ACIDS))
  for _, batches in data.evaluation('train'):
    for i in range(len(batches)):
      found = batches[i]['amino_acid'][:, ::3].reshape(-1)
      counts += np.bincount(found, minlength=len(counts) + 1)[: len(counts)]
  is_target = np.array([letter not in '*X' for letter in AMINO_ACIDS])
  surprise = np.zeros(len(VOCABULARY), np.float32)
  shares = counts[is_target] / counts[is_target].sum()
  surprise[TOKENS[:-1][is_target]] = -np.log(shares)
  return surprise
