"""Which sections of a window matter: answers, and how often they hit."""

import dataclasses
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float

from backbone.array_types import Batch, PyTree
from backbone.train.evaluate import Context
from backbone.train.state import split_model, to_device
from data_pipelines import records
from data_pipelines.genes.dataset import GeneWindows
from data_pipelines.genes.gene import Gene
from gta.model import Prediction

_UNKNOWN = records.BASES.index('N')
_RESAMPLES = 1_000


@runtime_checkable
class Predicts(Protocol):
  """An objective that says what it expects.

  Attributes:
    model: Its settings, `section_bases` among them.
  """

  model: Any

  def predict(self, model: nnx.Module, aux: PyTree, batch: Batch) -> Prediction:
    """Values of the genes of a batch."""

  def rollout(
    self, model: nnx.Module, aux: PyTree, batch: Batch
  ) -> Float[jax.Array, 'B S'] | None:
    """How much of each section reaches the head; None is not known."""


def explain(
  objective: Predicts, model: nnx.Module, aux: PyTree, batch: Batch
) -> dict[str, Float[jax.Array, 'B S']]:
  """How much each section matters, by each method.

  Returns:
    section_weights: Of the attention of the head.
    gradient: Size of the sum over a section of gradient times input, bases
      one-hot.
    occlusion: Size of the change when all bases of a section are unknown.
    rollout: Of attention through a language model; where there is one.
  """
  size = objective.model.section_bases
  rows, length = batch['sequence'].shape
  number = length // size
  predicted = objective.predict(model, aux, batch)

  def without(section):
    at = jnp.arange(length) // size == section
    hidden = jnp.where(at, _UNKNOWN, batch['sequence'])
    hidden = hidden.astype(batch['sequence'].dtype)
    return objective.predict(model, aux, {**batch, 'sequence': hidden}).value

  occluded = jax.lax.map(without, jnp.arange(number)).T

  def value_of(bases):
    given = {**batch, 'bases': bases}
    return objective.predict(model, aux, given).value.sum()

  bases = jax.nn.one_hot(batch['sequence'], _UNKNOWN)
  gradient = (jax.grad(value_of)(bases) * bases).sum(-1)
  rolled = objective.rollout(model, aux, batch)
  return {
    'section_weights': predicted.section_weights,
    'gradient': jnp.abs(gradient.reshape(rows, number, size).sum(-1)),
    'occlusion': jnp.abs(occluded - predicted.value[:, None]),
    **({} if rolled is None else {'rollout': rolled}),
  }


@dataclasses.dataclass(frozen=True)
class SectionHits:
  """How often the section that matters most has the enhancer.

  Beside it the same of a section at the distance of another gene's enhancer,
  which is what a model gets that knows distances alone, and, where it is known,
  of the section with the most bound bases.

  Attributes:
    split: Whose genes; those without an enhancer are left out.
    promoter: Sections on either side of the anchor that are no candidates.
  """

  split: str = 'test'
  promoter: int = 1

  def rows(self, context: Context) -> list[dict[str, Any]]:
    """A row for each method."""
    data: GeneWindows = context.data
    objective: Predicts = context.objective
    size = objective.model.section_bases
    found, wanted, index = self._explained(context)
    if data.found.bound:
      bound = data.batch(index)['bound']
      found['most_bound'] = bound.reshape(*wanted.shape, size).sum(-1)
    number = wanted.shape[1]
    is_candidate = np.ones(number, bool)
    anchor = data.before // size
    is_candidate[anchor - self.promoter : anchor + self.promoter] = False
    hits = {}
    for method, scores in found.items():
      best = np.where(is_candidate, scores, -np.inf).argmax(1)
      hits[method] = wanted[np.arange(len(best)), best]
    other = np.roll(wanted, 1, axis=0).argmax(1)
    hits['distance_matched'] = wanted[np.arange(len(other)), other]
    chance = float((wanted & is_candidate).sum(1).mean() / is_candidate.sum())
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(index), (_RESAMPLES, len(index)))
    rows = []
    for method, is_hit in hits.items():
      low, high = np.quantile(is_hit[drawn].mean(1), (0.025, 0.975))
      rows.append(self._row(context, method, is_hit.mean(), low, high))
    rows.append(self._row(context, 'chance', chance, None, None))
    return rows

  def _row(self, context, column, value, low, high) -> dict[str, Any]:
    return {
      'table': 'sections',
      'task': 'enhancer',
      'split': self.split,
      'metric': 'top-1 hit rate',
      'column': column,
      'seed': context.seed,
      'value': float(value),
      'low': None if low is None else float(low),
      'high': None if high is None else float(high),
    }

  def _explained(self, context: Context):
    """Scores by method, sections with the enhancer, and numbers of genes."""
    data, objective = context.data, context.objective
    graph, params = split_model(context.model)
    run = jax.jit(
      lambda params, aux, batch: explain(
        objective, nnx.merge(graph, params), aux, batch
      )
    )
    size = objective.model.section_bases
    parts, wanted, index = [], [], []
    ((_, batches),) = data.evaluation(self.split)
    with jax.set_mesh(context.mesh):
      for batch in batches:
        genes = batch['gene'][:, 0]
        is_real = batch['weight'][:, 0] > 0
        has = [bool(data.found.genes[max(i, 0)].enhancers) for i in genes]
        kept = is_real & np.array(has)
        made = run(params, context.aux, to_device(batch, context.mesh))
        parts.append({k: np.asarray(v)[kept] for k, v in made.items()})
        index.append(genes[kept])
        wanted += [
          _sections_of(data, data.found.genes[i], size)
          for i in genes[kept].tolist()
        ]
    scores = {k: np.concatenate([part[k] for part in parts]) for k in parts[0]}
    return scores, np.stack(wanted), np.concatenate(index)


def _sections_of(data: GeneWindows, gene: Gene, size: int) -> np.ndarray:
  """Which sections of the window overlap with an enhancer of the gene."""
  number = (data.before + data.after) // size
  found = np.zeros(number, bool)
  for start, end in gene.enhancers:
    ends = (start - gene.anchor, end - 1 - gene.anchor)
    low, high = sorted(gene.strand * x + data.before for x in ends)
    found[max(low // size, 0) : max(high // size + 1, 0)] = True
  return found
