"""Residues of hidden codons: a marginal of codons beside a usage prior."""

import dataclasses
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float
from tqdm import tqdm

from backbone.array_types import Array, Batch, PRNGKey
from backbone.downstream import metrics, table
from lifecode.model import NUM_AMINO_ACIDS
from lifecode.objectives.amino_acid_marginal import residue_nats
from lifecode.objectives.masked import MaskedForward
from lifecode.tokenizers.interface import CODON


@dataclasses.dataclass(frozen=True)
class ResidueBits:
  """-log2 p of the residue at hidden codons of genes not trained on.

  Columns are the amino-acid marginal of the trained model (the sum of its
  probabilities of the synonyms), of random weights, and the codon-usage prior:
  the same sum over how often each codon is used in the training genes of the
  data set in question, which is how frequent the residue is there. A uniform
  guess of 20 residues and the stop has 4.39 bits.

  Attributes:
    split: Where to measure.
    max_rows: Rows of each data set.
    forward: What is hidden.
    bootstrap: Of the intervals, over rows.
  """

  split: str = 'test'
  max_rows: int | None = None
  forward: MaskedForward = dataclasses.field(default_factory=MaskedForward)
  bootstrap: metrics.Bootstrap = dataclasses.field(
    default_factory=metrics.Bootstrap
  )

  def rows(self, context: Any) -> list[table.Row]:
    """One row per data set and column."""
    models = {
      'pretrained': self._make_bits(context.model),
      'random_weights': self._make_bits(context.random_model),
    }
    priors = _priors(context.data)
    held_out = [
      (task, batches)
      for task, batches in context.data.evaluation(
        self.split, max_rows=self.max_rows
      )
      if task in priors
    ]
    found = []
    for task, batches in tqdm(held_out, desc='residues', unit='task'):
      totals = self._totals(context.seed, batches, models, priors[task])
      weight = totals.pop('weight')
      found += table.ratio_rows(
        'residue_bits',
        task,
        'bits_per_residue',
        totals,
        weight,
        self.bootstrap,
        seed=context.seed,
        split=self.split,
      )
    return found

  def _make_bits(self, model: nnx.Module):
    graph, params = nnx.split(model)

    @jax.jit
    def run(params, batch: Batch, key: PRNGKey) -> tuple[Array, Array]:
      merged = nnx.merge(graph, params)
      rows = self.forward(merged, batch, key, train=False)
      nats, is_target = residue_nats(
        merged.codons(rows.encoded), batch, rows.is_hidden[:, ::CODON]
      )
      return nats / np.log(2.0), is_target

    return lambda batch, key: run(params, batch, key)

  def _totals(
    self, seed: int, batches: Any, models: dict, prior: np.ndarray
  ) -> dict[str, Float[np.ndarray, 'rows']]:
    """Sums over the hidden codons of each row, by column."""
    key = jax.random.key(seed)
    parts: dict[str, list] = {}
    for index in range(len(batches)):
      batch = batches[index]
      batch_key = jax.random.fold_in(key, index)
      for column, bits_of in models.items():
        bits, is_target = (np.asarray(x) for x in bits_of(batch, batch_key))
        parts.setdefault(column, []).append(np.where(is_target, bits, 0))
      residues = np.minimum(batch['amino_acid'][:, ::CODON], len(prior) - 1)
      parts.setdefault('codon_usage_prior', []).append(
        np.where(is_target, prior[residues], 0)
      )
      parts.setdefault('weight', []).append(is_target)
    totals = {
      column: np.concatenate(part).sum(-1).astype(float)
      for column, part in parts.items()
    }
    is_used = totals['weight'] > 0
    return {column: total[is_used] for column, total in totals.items()}


def _priors(data: Any) -> dict[str, Float[np.ndarray, 'residues']]:
  """By data set, bits of each residue by its share of the training codons."""
  priors = {}
  for task, batches in data.evaluation('train'):
    if not task.endswith('/cds'):
      continue
    # Each starts at one, so that a residue never seen has finite bits.
    counts = np.ones(NUM_AMINO_ACIDS)
    for index in range(len(batches)):
      residues = batches[index]['amino_acid'][:, ::CODON]
      kept = residues[residues < NUM_AMINO_ACIDS]
      counts += np.bincount(kept, minlength=NUM_AMINO_ACIDS)
    priors[task] = -np.log2(counts / counts.sum())
  return priors
