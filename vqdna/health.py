"""Whether a vocabulary is alive, and what its codes mean."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float, Int
from tqdm import tqdm

from backbone.array_types import PyTree
from backbone.downstream import metrics, table
from vqdna import pictures
from vqdna.network import NUM_BASES
from vqdna.objective import bases

# Bases to either side of a token at which it is asked what its code tells.
FLANK = 8


class Level(NamedTuple):
  """What was counted of one level.

  Attributes:
    contexts: How often a code stood at a base, by offset of the base from the
      first of the token: -FLANK, ... FLANK.
    error: Squared distance of vectors to their codes over squared length, mean
      of the batches.
  """

  contexts: Int[np.ndarray, 'Q offset 4']
  error: float

  @property
  def counts(self) -> Int[np.ndarray, 'Q']:
    """How often each code occurred at a known base."""
    return self.contexts[:, FLANK].sum(-1)


@dataclasses.dataclass(frozen=True)
class Health:
  """Usage, perplexity and meaning of every level, and reconstruction.

  Over all bases of the chosen rows, nothing hidden:

    usage            share of the codes that occur
    perplexity       number of equally frequent codes of the same entropy
    evenness         perplexity over the number of codes; a gate is 0.5
    error            squared distance to the codes over squared length
    base_bits        what a code tells of its own bases, each 2 bits at most
    context_bits     what it tells of the 16 bases around, bit by bit summed
    reconstruction   accuracy of the decoder; at one token a base, four codes
                     are enough for 1.0, so that it says little

  Columns are the trained vocabulary, and the control: a random encoder whose
  vectors were quantised by codes that one batch placed. Intervals of the
  accuracy are over rows; a vocabulary is one thing and has none.

  Attributes:
    split: Where to measure.
    max_rows: Rows of each data set and kind.
    bootstrap: Of the intervals.
  """

  split: str = 'test'
  max_rows: int | None = None
  bootstrap: metrics.Bootstrap = dataclasses.field(
    default_factory=metrics.Bootstrap
  )

  def rows(self, context: Any) -> list[table.Row]:
    """One row per metric and column; pictures go to the run's folder."""
    batches = [
      batch
      for _, source in context.data.evaluation(
        self.split, max_rows=self.max_rows
      )
      for batch in source
    ]
    found = []
    for column, model, aux in (
      ('trained', context.model, context.aux),
      ('random_encoder', *_random_vocabulary(context, batches[0])),
    ):
      levels, right, weight = _count(
        context.objective, model, aux, batches, column
      )
      for number, level in enumerate(levels, 1):
        found += self._level_rows(number, level, column, context)
      found.append(
        table.row(
          'health',
          'reconstruction',
          'accuracy',
          column,
          metrics.ratio(right, weight, self.bootstrap),
          seed=context.seed,
          split=self.split,
        )
      )
      if column == 'trained':
        self._draw(levels, aux, context)
    return found

  def _draw(self, levels: list[Level], aux: PyTree, context: Any) -> None:
    quantiser = context.objective.quantiser
    pictures.write(
      [level.contexts for level in levels],
      [information(level.contexts) for level in levels],
      [
        np.asarray(quantiser.codes(aux, number))
        for number in range(len(levels))
      ],
      context.workdir / 'pictures',
    )

  def _level_rows(
    self, number: int, level: Level, column: str, context: Any
  ) -> list[table.Row]:
    stride = context.objective.network.token_stride
    return [
      table.row(
        'health',
        f'level{number}',
        metric,
        column,
        metrics.Score(value, np.nan, np.nan),
        seed=context.seed,
        split=self.split,
      )
      for metric, value in measures(level, stride).items()
    ]


def measures(level: Level, stride: int) -> dict[str, float]:
  """The figures of one level, by name."""
  size = len(level.counts)
  perplexity = 2 ** entropy(level.counts)
  told = information(level.contexts)
  own = told[FLANK : FLANK + stride].sum()
  return {
    'usage': float((level.counts > 0).mean()),
    'perplexity': float(perplexity),
    'evenness': float(perplexity / size),
    'error': level.error,
    'base_bits': float(own),
    'context_bits': float(told.sum() - own),
  }


def entropy(counts: Int[np.ndarray, '... n']) -> Float[np.ndarray, '...']:
  """In bits, over the last axis; 0 of nothing."""
  total = np.maximum(counts.sum(-1, keepdims=True), 1)
  share = counts / total
  terms = share * np.log2(np.where(share > 0, share, 1))
  return np.asarray(-terms.sum(-1))


def information(
  contexts: Int[np.ndarray, 'Q offset 4'],
) -> Float[np.ndarray, 'offset']:
  """Bits that a code and a base share, by offset.

  Counted, so too high by about 3 Q / (2 ln 2 n) bits for n bases (Miller and
  Madow).
  """
  base, code = contexts.sum(0), contexts.sum(-1)
  joint = np.moveaxis(contexts, 1, 0).reshape(contexts.shape[1], -1)
  return entropy(base) + entropy(code.T) - entropy(joint)


def _random_vocabulary(
  context: Any, batch: dict[str, np.ndarray]
) -> tuple[Any, PyTree]:
  """Random weights, and codes as their first batch places them."""
  objective, model = context.objective, context.random_model
  quantised = objective.quantise(
    model,
    context.random_aux,
    jax.tree.map(jnp.asarray, batch),
    jax.random.key(context.seed),
    train=True,
  )
  return model, quantised.vocabulary


def _count(
  objective: Any, model: nnx.Module, aux: PyTree, batches: list, label: str
) -> tuple[list[Level], Float[np.ndarray, 'row'], Float[np.ndarray, 'row']]:
  """Counts of each level; right bases, and bases, of each row."""
  graph, params = nnx.split(model)

  @jax.jit
  def run(params, aux, batch):
    model = nnx.merge(graph, params)
    quantised = objective.quantise(model, aux, batch, jax.random.key(0))
    scores = model.decode(quantised.vectors, batch['segment_ids'])
    sequence, is_base = bases(batch)
    is_right = (scores.argmax(-1) == sequence) & is_base
    return quantised, is_right.sum(-1), is_base.sum(-1)

  stride = objective.network.token_stride
  sizes = objective.quantiser.sizes
  contexts = [np.zeros((n, 2 * FLANK + 1, NUM_BASES), np.int64) for n in sizes]
  errors: list[list[float]] = [[] for _ in sizes]
  right, weight = [], []
  for batch in tqdm(batches, desc=f'health, {label}', unit='batch'):
    quantised, row_right, row_weight = run(params, aux, batch)
    right.append(np.asarray(row_right))
    weight.append(np.asarray(row_weight))
    for number, ids in enumerate(quantised.ids):
      add_contexts(contexts[number], np.asarray(ids), batch, stride)
      error = quantised.metrics[f'level{number + 1}/error']
      errors[number].append(error.value())
  levels = [
    Level(counted, float(np.mean(error)))
    for counted, error in zip(contexts, errors, strict=True)
  ]
  return levels, np.concatenate(right), np.concatenate(weight)


def add_contexts(
  counts: Int[np.ndarray, 'Q offset 4'],
  ids: Int[np.ndarray, 'B T'],
  batch: dict[str, np.ndarray],
  stride: int,
) -> None:
  """Adds how often each code of a batch stood at each base, in place.

  Counted are known bases of the token's own segment, and tokens without N.
  """
  sequence, segment_ids = batch['sequence'], batch['segment_ids']
  length = sequence.shape[1]
  is_base = (sequence < NUM_BASES) & (segment_ids > 0)
  is_real = is_base.reshape(*ids.shape, stride).all(-1)
  first = np.arange(ids.shape[1]) * stride
  for index in range(counts.shape[1]):
    at = first + index - FLANK
    inside = (at >= 0) & (at < length)
    at, tokens = at[inside], np.flatnonzero(inside)
    is_own = segment_ids[:, at] == segment_ids[:, first[tokens]]
    is_counted = is_own & is_base[:, at] & is_real[:, tokens]
    pair = ids[:, tokens] * NUM_BASES + sequence[:, at]
    num = counts.shape[0] * NUM_BASES
    found = np.bincount(pair[is_counted], minlength=num)
    counts[:, index] += found.reshape(-1, NUM_BASES)
