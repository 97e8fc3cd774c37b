"""What GTA is trained for: the value of a gene, among genes."""

import dataclasses

import jax.numpy as jnp
from flax import nnx

from backbone.array_types import (
  Array,
  Batch,
  Float,
  Mean,
  PRNGKey,
  PyTree,
  Scalar,
)
from data_pipelines.errors import InputError
from gta.language.frozen import Frozen
from gta.model import GTA, GTAConfig, Prediction
from gta.tracks import deviance_of


@dataclasses.dataclass(frozen=True)
class Expression:
  """Squared errors of standardized log expression, and of its differences.

  Attributes:
    model: What is trained.
    language: What is not; its weights are in `aux`.
    window: Bases of a window.
    difference_weight: Of the second term, the error of differences between the
      genes of a batch, which is what a ranking needs.
    bound_weight: Of the third, the deviance of how many bases of each bin are
      bound; the model must predict it, and the data know it.
  """

  model: GTAConfig
  language: Frozen
  window: int
  difference_weight: float | int = 0.5
  bound_weight: float | int = 0.0

  def __post_init__(self):
    if self.window % self.model.section_bases:
      raise ValueError(
        f'window {self.window} is no multiple of section_bases '
        f'{self.model.section_bases}'
      )
    if self.bound_weight and not self.model.predicts_bound:
      raise ValueError('bound_weight needs model.predicts_bound')

  def init(self, key: PRNGKey) -> tuple[nnx.Module, PyTree]:
    """What is trained, and the frozen language model."""
    return self.init_around(key, self.frozen())

  def frozen(self) -> PyTree:
    """The weights of the language model."""
    return self.language.init()

  def init_around(
    self, key: PRNGKey, frozen: PyTree
  ) -> tuple[nnx.Module, PyTree]:
    """The same, given those."""
    num_sections = self.window // self.model.section_bases
    model = GTA(self.model, frozen['table'], num_sections, key=key)
    return model, {'frozen': frozen}

  def predict(
    self, model: GTA, aux: PyTree, batch: Batch, key: PRNGKey | None = None
  ) -> Prediction:
    """Values of the genes of a batch; with a key as in training."""
    frozen = aux['frozen']
    return model(batch, self.language.merge(frozen), frozen['table'], key)

  def rollout(
    self, model: GTA, aux: PyTree, batch: Batch
  ) -> Float[Array, 'B S'] | None:
    """See `GTA.rollout`; None without a language model between."""
    if self.model.between != 'language' or not self.model.has_sections:
      return None
    frozen = aux['frozen']
    return model.rollout(batch, self.language.merge(frozen), frozen['table'])

  def loss(
    self,
    model: GTA,
    aux: PyTree,
    batch: Batch,
    key: PRNGKey,
    *,
    train: bool,
  ) -> tuple[Scalar, tuple[PyTree, dict[str, Mean]]]:
    """Sections that are left out are drawn, in training alone."""
    predicted = self.predict(model, aux, batch, key if train else None)
    weight = batch['weight'][:, 0]
    error = (predicted.value - batch['value'][:, 0]) * weight
    squared = jnp.square(error)
    total = jnp.maximum(weight.sum(), 1)
    loss = squared.sum() / total
    spread = _spread(error, weight)
    metrics = {
      'squared_error': Mean(squared.sum(), weight.sum()),
      'difference_error': Mean(spread * total, total),
    }
    loss += self.difference_weight * spread
    if self.bound_weight:
      deviance = (_bound_deviance(predicted.bound, batch) * weight).sum()
      metrics['bound_deviance'] = Mean(deviance, weight.sum())
      loss += self.bound_weight * deviance / total
    return loss, (aux, metrics)


def _bound_deviance(
  found: Float[Array, 'B M'], batch: Batch
) -> Float[Array, 'B']:
  """Mean over bins, of each gene."""
  if 'bound' not in batch:
    raise InputError(
      'bound_weight: nobody has looked where these genes are bound; set '
      'objective.bound_weight to 0'
    )
  rows, num_bins = found.shape
  bound = batch['bound'].reshape(rows, num_bins, -1)
  return deviance_of(found, bound.sum(-1).astype(found.dtype)).mean(-1)


def _spread(error: Float[Array, 'B'], weight: Float[Array, 'B']) -> Scalar:
  """Mean over pairs of genes of the squared difference of their errors."""
  total = jnp.maximum(weight.sum(), 1)
  mean = error.sum() / total
  return 2 * jnp.maximum(jnp.square(error).sum() / total - mean**2, 0)
