"""How far around a hidden token its bases can be read off the others' codes."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from backbone.downstream import metrics, table
from backbone.train.state import to_device
from data_pipelines.errors import InputError
from vqdna.held_out import held_out
from vqdna.network import NUM_BASES

# What a probe reads at a distance to either side of a hidden token.
COLUMNS = ('hidden_tokens', 'hidden_bases', 'true_bases', 'majority')


@dataclasses.dataclass(frozen=True)
class Leak:
  """Accuracy of a linear probe for the middle base of a hidden token.

  It reads what stands `d` tokens to its left and to its right:

    hidden_tokens   their vectors where only the token is hidden, as published:
                    the encoder saw its bases
    hidden_bases    their vectors where its bases were hidden from the encoder
    true_bases      their own bases: what the genome tells at that distance
    majority        nothing

  What vectors tell of hidden bases is what their surroundings tell of them, and
  no leak; an encoder that has not met hidden bases may tell less. The row
  `leak` has the farthest distance at which the interval of `hidden_tokens` lies
  above those of `hidden_bases` and `true_bases`, 0 if none. Fitted on the
  validation split, scored on test; nothing is chosen.

  Attributes:
    num_examples: Hidden tokens of either split, at most.
    kinds: Of records that are read: those that were trained on.
    bootstrap: Of the intervals, over hidden tokens.
  """

  num_examples: int = 6_000
  kinds: tuple[str, ...] = ('genome',)
  bootstrap: metrics.Bootstrap = dataclasses.field(
    default_factory=metrics.Bootstrap
  )

  def rows(self, context: Any) -> list[table.Row]:
    """One row per distance and column, and how far it leaks."""
    distances = _distances(context.objective.network)
    with jax.set_mesh(context.mesh):
      train, test = (
        self._collect(context, split, max(distances))
        for split in ('validation', 'test')
      )
    found, farthest = [], 0
    for distance in tqdm(distances, desc='leak', unit='distance'):
      scores = {
        column: self._score(column, distance, train, test) for column in COLUMNS
      }
      found += [
        table.row(
          'leak',
          f'distance {distance}',
          'accuracy',
          column,
          score,
          seed=context.seed,
        )
        for column, score in scores.items()
      ]
      honest = (scores['hidden_bases'].high, scores['true_bases'].high)
      if scores['hidden_tokens'].low > max(honest):
        farthest = distance
    score = metrics.Score(float(farthest), np.nan, np.nan)
    return [
      *found,
      table.row(
        'leak', 'leak', 'tokens', 'hidden_tokens', score, seed=context.seed
      ),
    ]

  def _collect(self, context: Any, split: str, reach: int) -> 'Examples':
    """Tokens so far apart that none is in the context of another."""
    objective = context.objective
    stride = objective.network.token_stride
    graph, params = nnx.split(context.model)

    @jax.jit
    def vectors(params, aux, batch):
      return objective.quantise(
        nnx.merge(graph, params),
        aux,
        batch,
        jax.random.key(0),
        is_hidden=batch['is_hidden'],
      ).vectors

    truth, around = [], {name: [] for name in COLUMNS[:3]}
    missing = self.num_examples
    for batch in _spread(held_out(context.data, split, self.kinds)):
      is_target = targets(batch, stride, reach)
      row, token = np.nonzero(is_target)
      row, token = row[:missing], token[:missing]
      missing -= row.size
      at = row[:, None], token[:, None] + np.arange(-reach, reach + 1)
      is_hidden = np.repeat(is_target, stride, axis=1)
      nothing = np.zeros_like(is_hidden)
      for name, hidden in (
        ('hidden_tokens', nothing),
        ('hidden_bases', is_hidden),
      ):
        shown = to_device({**batch, 'is_hidden': hidden}, context.mesh)
        found = vectors(params, context.aux, shown)
        around[name].append(np.asarray(found)[at])
      words = batch['sequence'].reshape(*is_target.shape, stride)
      shape = row.size, 2 * reach + 1, stride * NUM_BASES
      around['true_bases'].append(np.eye(NUM_BASES)[words[at]].reshape(shape))
      truth.append(words[row, token, stride // 2].astype(int))
      if not missing:
        break
    if missing == self.num_examples:
      raise InputError(
        f'split {split!r}: no row has {stride * (2 * reach + 1)} known bases '
        'in one segment; use a longer config.data.row_length'
      )
    return Examples(
      np.concatenate(truth),
      {name: np.concatenate(parts) for name, parts in around.items()},
    )

  def _score(
    self, column: str, distance: int, train: 'Examples', test: 'Examples'
  ) -> metrics.Score:
    if column == 'majority':
      predicted = np.full_like(test.truth, np.bincount(train.truth).argmax())
    else:
      probe = make_pipeline(
        StandardScaler(), LogisticRegression(max_iter=300, tol=1e-3)
      )
      probe.fit(train.features(column, distance), train.truth)
      predicted = probe.predict(test.features(column, distance))
    return metrics.score('accuracy', test.truth, predicted, self.bootstrap)


@dataclasses.dataclass(frozen=True)
class Examples:
  """Hidden tokens, and what stands around each.

  Attributes:
    truth: The middle base of each.
    around: By column, at offsets -m ... m of tokens.
  """

  truth: Int[np.ndarray, 'e']
  around: dict[str, Float[np.ndarray, 'e offset _']]

  def features(self, column: str, distance: int) -> Float[np.ndarray, 'e _']:
    """Of both sides, beside each other."""
    around = self.around[column]
    middle = around.shape[1] // 2
    sides = around[:, [middle - distance, middle + distance]]
    return sides.reshape(len(sides), -1)


def _distances(network: Any) -> list[int]:
  """Every one nearby, then every fourth to beyond the encoder's reach."""
  beyond = -(-network.reach // network.token_stride) + 3
  return [*range(1, min(8, beyond)), *range(8, beyond + 4, 4)]


def _spread(sources: list[tuple[str, Any]]) -> Iterator[dict[str, np.ndarray]]:
  """Batches of all sources in turns, of each the first, the second, ..."""
  for index in range(max(len(batches) for _, batches in sources)):
    for _, batches in sources:
      if index < len(batches):
        yield batches[index]


def targets(
  batch: dict[str, np.ndarray], stride: int, reach: int
) -> np.ndarray:
  """Tokens [B, T] every 2 reach + 1, whose surroundings are of one segment.

  Nothing around them is an unknown base.
  """
  segment_ids, sequence = batch['segment_ids'], batch['sequence']
  shape = len(sequence), -1, stride
  is_base = (sequence < NUM_BASES).reshape(shape).all(-1)
  segments = segment_ids[:, ::stride]
  width = 2 * reach + 1
  is_target = np.zeros(segments.shape, bool)
  for token in range(reach, segments.shape[1] - reach, width):
    here = slice(token - reach, token + reach + 1)
    is_one = (segments[:, here] == segments[:, [token]]).all(-1)
    is_known = is_base[:, here].all(-1) & (segments[:, token] > 0)
    is_target[:, token] = is_one & is_known
  return is_target
