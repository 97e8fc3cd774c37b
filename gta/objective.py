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
from gta.language.frozen import Frozen
from gta.model import GTA, GTAConfig, Prediction


@dataclasses.dataclass(frozen=True)
class Expression:
  """Squared errors of standardized log expression, and of its differences.

  Attributes:
    model: What is trained.
    language: What is not; its weights are in `aux`.
    window: Bases of a window.
    difference_weight: Of the second term, the error of differences between the
      genes of a batch, which is what a ranking needs.
  """

  model: GTAConfig
  language: Frozen
  window: int
  difference_weight: float | int = 0.5

  def __post_init__(self):
    if self.window % self.model.section_bases:
      raise ValueError(
        f'window {self.window} is no multiple of section_bases '
        f'{self.model.section_bases}'
      )

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
    predicted = self.predict(model, aux, batch, key if train else None).value
    weight = batch['weight'][:, 0]
    error = (predicted - batch['value'][:, 0]) * weight
    squared = jnp.square(error)
    total = jnp.maximum(weight.sum(), 1)
    loss = squared.sum() / total
    spread = _spread(error, weight)
    metrics = {
      'squared_error': Mean(squared.sum(), weight.sum()),
      'difference_error': Mean(spread * total, total),
    }
    return loss + self.difference_weight * spread, (aux, metrics)


def _spread(error: Float[Array, 'B'], weight: Float[Array, 'B']) -> Scalar:
  """Mean over pairs of genes of the squared difference of their errors."""
  total = jnp.maximum(weight.sum(), 1)
  mean = error.sum() / total
  return 2 * jnp.maximum(jnp.square(error).sum() / total - mean**2, 0)
