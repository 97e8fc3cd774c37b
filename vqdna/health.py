"""Whether a vocabulary is alive, and what its codes mean."""

import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float, Int
from tqdm import tqdm

from backbone.array_types import PyTree
from backbone.downstream import metrics, table
from backbone.train.state import to_device
from vqdna import code_words, pictures
from vqdna.held_out import held_out
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
      of the batches, by their bases.
    words: How often it stood at each word of five bases.
  """

  contexts: Int[np.ndarray, 'Q offset 4']
  error: float
  words: Int[np.ndarray, 'Q word'] | None = None

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
    context_bits     what it tells of the others within 8 of its first, each 2
                     bits at most, summed
    codes_per_base   of all levels together
    reconstruction   accuracy of the decoder; at one token a base, four codes
                     are enough for 1.0, so that it says little

  Columns are the trained vocabulary, and the control: a random encoder whose
  vectors were quantised by codes that one training batch placed. Intervals of
  the accuracy are over rows; a vocabulary is one thing and has none. The run's
  folder gets pictures, and words_N.tsv: the words of five bases that each code
  of level N stands at.

  Attributes:
    split: Where to measure.
    max_rows: Rows of each data set and kind.
    kinds: Of records that are read: those that were trained on.
    bootstrap: Of the intervals.
  """

  split: str = 'test'
  max_rows: int | None = None
  kinds: tuple[str, ...] = ('genome',)
  bootstrap: metrics.Bootstrap = dataclasses.field(
    default_factory=metrics.Bootstrap
  )

  def rows(self, context: Any) -> list[table.Row]:
    """One row per metric and column; pictures and words go to the folder."""
    batches = [
      batch
      for _, source in held_out(
        context.data, self.split, self.kinds, self.max_rows
      )
      for batch in source
    ]
    found = []
    for column, model, aux in (
      ('trained', context.model, context.aux),
      ('random_encoder', *_random_vocabulary(context)),
    ):
      levels, right, weight = _count(context, model, aux, batches, column)
      found += self._level_rows(levels, column, context)
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
    folder = context.workdir / 'pictures'
    pictures.write(
      [level.contexts for level in levels],
      [information(level.contexts) for level in levels],
      [
        np.asarray(quantiser.codes(aux, number))
        for number in range(len(levels))
      ],
      folder,
    )
    for number, level in enumerate(levels, 1):
      code_words.write(level.words, folder / f'words_{number}.tsv')

  def _level_rows(
    self, levels: list[Level], column: str, context: Any
  ) -> list[table.Row]:
    stride = context.objective.network.token_stride
    found = {
      f'level{number}': measures(level, stride)
      for number, level in enumerate(levels, 1)
    }
    found['all levels'] = {'codes_per_base': len(levels) / stride}
    return [
      table.row(
        'health',
        of,
        metric,
        column,
        metrics.Score(value, np.nan, np.nan),
        seed=context.seed,
        split=self.split,
      )
      for of, values in found.items()
      for metric, value in values.items()
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

  Of n counted bases and Q codes in use it is too high by 3 (Q - 1) / (2 n ln 2)
  bits (Miller and Madow), which are taken away.
  """
  base, code = contexts.sum(0), contexts.sum(-1)
  joint = np.moveaxis(contexts, 1, 0).reshape(contexts.shape[1], -1)
  told = entropy(base) + entropy(code.T) - entropy(joint)
  num_codes, num_bases = (code > 0).sum(0), np.maximum(base.sum(-1), 1)
  too_high = 3 * np.maximum(num_codes - 1, 0) / (2 * num_bases * np.log(2))
  return np.maximum(told - too_high, 0)


def _random_vocabulary(context: Any) -> tuple[Any, PyTree]:
  """Random weights, and codes as their first training batch places them."""
  objective, model = context.objective, context.random_model
  graph, params = nnx.split(model)

  @jax.jit
  def place(params, aux, batch):
    key = jax.random.key(context.seed)
    model = nnx.merge(graph, params)
    return objective.quantise(model, aux, batch, key, train=True).vocabulary

  training = context.data.train()
  with jax.set_mesh(context.mesh):
    batch = to_device(next(training), context.mesh)
    codes = place(params, context.random_aux, batch)
  training.close()
  return model, codes


def _count(
  context: Any, model: nnx.Module, aux: PyTree, batches: list, label: str
) -> tuple[list[Level], Float[np.ndarray, 'row'], Float[np.ndarray, 'row']]:
  """Counts of each level; right bases, and bases, of each row."""
  objective = context.objective
  graph, params = nnx.split(model)

  @jax.jit
  def run(params, aux, batch):
    model = nnx.merge(graph, params)
    quantised = objective.quantise(model, aux, batch, jax.random.key(0))
    scores = model.decode(quantised.vectors, batch['segment_ids'])
    sequence, is_base = bases(batch)
    is_right = (scores.argmax(-1) == sequence) & is_base
    errors = [
      quantised.metrics[f'level{number}/error'].total
      for number in range(1, len(quantised.ids) + 1)
    ]
    return quantised.ids, errors, is_right.sum(-1), is_base.sum(-1)

  stride = objective.network.token_stride
  sizes = objective.quantiser.sizes
  contexts = [np.zeros((n, 2 * FLANK + 1, NUM_BASES), np.int64) for n in sizes]
  words = [np.zeros((n, code_words.NUM_WORDS), np.int64) for n in sizes]
  errors: list[list[float]] = [[] for _ in sizes]
  right, weight = [], []
  for batch in tqdm(batches, desc=f'health, {label}', unit='batch'):
    with jax.set_mesh(context.mesh):
      placed = to_device(batch, context.mesh)
      ids, batch_errors, *of_rows = run(params, aux, placed)
    right.append(np.asarray(of_rows[0]))
    weight.append(np.asarray(of_rows[1]))
    for number, level_ids in enumerate(ids):
      add_contexts(contexts[number], np.asarray(level_ids), batch, stride)
      code_words.add_words(words[number], np.asarray(level_ids), batch, stride)
      errors[number].append(float(batch_errors[number]) * weight[-1].sum())
  levels = [
    Level(counted, float(np.sum(error) / max(np.sum(weight), 1)), at)
    for counted, error, at in zip(contexts, errors, words, strict=True)
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
