"""Masked bits per base on held-out records, beside Markov models."""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float, UInt8
from tqdm import tqdm

from backbone.array_types import Batch
from backbone.downstream import metrics, table
from backbone.downstream.markov import MarkovModel
from data_pipelines.central_dogma import reverse_complement
from lifecode.objectives.masked import MaskedForward
from lifecode.objectives.masked_modelling import hidden_bits


@dataclasses.dataclass(frozen=True)
class MaskedBits:
  """-log2 p of masked bases: the model and its floors at the same positions.

  Columns are the trained model, the same with random weights, a uniform guess,
  Markov models fitted to the training split of all data sets (`markov_k`, as
  the model was) and of the one data set in question (`markov_k_own`). A Markov
  model sees the true bases to the left, also where the model's are masked; the
  model sees both sides. Of proteins without a CDS the codons are drawn, and
  training does not ask for them: their rows say how predictable the draw is.

  Attributes:
    split: Where to measure.
    max_rows: Rows of each data set and kind.
    orders: Of the Markov models.
    forward: What is hidden; nothing that is selected is shown here.
    bootstrap: Of the intervals, over rows.
  """

  split: str = 'test'
  max_rows: int | None = None
  orders: tuple[int, ...] = (2, 5)
  forward: MaskedForward = dataclasses.field(default_factory=MaskedForward)
  bootstrap: metrics.Bootstrap = dataclasses.field(
    default_factory=metrics.Bootstrap
  )

  def rows(self, context: Any) -> list[table.Row]:
    """One row per data set, kind and column."""
    models = {
      'pretrained': self._make_bits(context.model),
      'random_weights': self._make_bits(context.random_model),
    }
    markov = self._fit(context.data)
    held_out = context.data.evaluation(self.split, max_rows=self.max_rows)
    found = []
    for task, batches in tqdm(held_out, desc='masked bits', unit='task'):
      source = task.split('/')[0]
      floors = {
        f'markov_{order}{suffix}': markov[data, order]
        for order in self.orders
        for suffix, data in (('', None), ('_own', source))
      }
      totals = self._totals(context, batches, models, floors)
      weight = totals.pop('weight')
      found += table.ratio_rows(
        'masked_bits',
        task,
        'bits_per_base',
        totals,
        weight,
        self.bootstrap,
        seed=context.seed,
        split=self.split,
      )
    return found

  def _fit(self, data: Any) -> dict[tuple[str | None, int], MarkovModel]:
    """Models of each order, for all data (None) and each data set."""
    of_source: dict[str, list[np.ndarray]] = {}
    for task, batches in data.evaluation('train'):
      source, kind = task.split('/')
      for sequence in _segments(batches):
        own = of_source.setdefault(source, [])
        own.append(sequence)
        if kind == 'genome':
          own.append(reverse_complement(sequence))
    everything = [s for own in of_source.values() for s in own]
    return {
      (source, order): MarkovModel.fit(sequences, order)
      for source, sequences in ((None, everything), *of_source.items())
      for order in self.orders
    }

  def _make_bits(self, model: nnx.Module):
    graph, params = nnx.split(model)

    @jax.jit
    def run(params, batch: Batch, key):
      return hidden_bits(self.forward, nnx.merge(graph, params), batch, key)

    return lambda batch, key: run(params, batch, key)

  def _totals(
    self, context: Any, batches: Any, models: dict, floors: dict
  ) -> dict[str, Float[np.ndarray, 'rows']]:
    """Sums over the masked bases of each row, by column."""
    key = jax.random.key(context.seed)
    parts: dict[str, list] = {}
    for index in range(len(batches)):
      batch = batches[index]
      batch_key = jax.random.fold_in(key, index)
      for column, bits_of in models.items():
        bits, is_target = (np.asarray(x) for x in bits_of(batch, batch_key))
        parts.setdefault(column, []).append(bits.sum(-1))
      weight = is_target.sum(-1).astype(np.float64)
      for column, floor in floors.items():
        bits = floor.bits(batch['sequence'], batch['segment_ids'])
        parts.setdefault(column, []).append(
          np.where(is_target, bits, 0).sum(-1)
        )
      parts.setdefault('uniform', []).append(2 * weight)
      parts.setdefault('weight', []).append(weight)
    totals = {c: np.concatenate(p).astype(float) for c, p in parts.items()}
    is_used = totals['weight'] > 0
    return {column: total[is_used] for column, total in totals.items()}


def _segments(batches: Any) -> Iterator[UInt8[np.ndarray, '_']]:
  for index in range(len(batches)):
    batch = batches[index]
    for bases, segment_ids in zip(
      batch['sequence'], batch['segment_ids'], strict=True
    ):
      cuts = np.flatnonzero(np.diff(segment_ids)) + 1
      ends = [0, *cuts, bases.size]
      for start, stop in itertools.pairwise(ends):
        if segment_ids[start]:
          yield bases[start:stop]
