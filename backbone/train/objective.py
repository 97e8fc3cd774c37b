"""What the trainer knows of a paper: an objective builds a model and a loss."""

import dataclasses
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import jax.numpy as jnp
from flax import nnx

from backbone.array_types import (
  Array,
  Batch,
  Bool,
  Float,
  Mean,
  PRNGKey,
  PyTree,
  Scalar,
)


@runtime_checkable
class Objective(Protocol):
  """What to train. Implementations are frozen dataclasses.

  An objective may carry `vocabulary`, a string or a tuple of strings saying
  what the ids it reads mean, in order; its hash travels with checkpoints.
  """

  def init(self, key: PRNGKey) -> tuple[nnx.Module, PyTree]:
    """Builds the model and `aux`: state without gradient, () if none."""

  def loss(
    self,
    model: nnx.Module,
    aux: PyTree,
    batch: Batch,
    key: PRNGKey,
    *,
    train: bool,
  ) -> tuple[Scalar, tuple[PyTree, dict[str, Mean]]]:
    """The scalar to minimise, the next aux, metrics as (total, weight).

    Masking, corruption and augmentation happen here, from `key`. With
    `train=False` the loss is deterministic given `key`.
    """


@runtime_checkable
class HasFrozen(Objective, Protocol):
  """An objective around a model that is read from files and never trained.

  Its weights are read outside of every trace, which would keep them as
  constants of a program, and lie like parameters below 'frozen' in `aux`.
  """

  def frozen(self) -> PyTree:
    """The weights."""

  def init_around(
    self, key: PRNGKey, frozen: PyTree
  ) -> tuple[nnx.Module, PyTree]:
    """As `init`, given the weights."""


@runtime_checkable
class SharesForward(Objective, Protocol):
  """An objective whose loss is a score of a forward pass that others share.

  Attributes:
    forward: Called as forward(model, batch, key, train=…); `Sum` runs equal
      ones once, so it must compare by value, as frozen dataclasses do.
  """

  forward: Callable[..., PyTree]

  def score(
    self, model: nnx.Module, aux: PyTree, batch: Batch, result: PyTree
  ) -> tuple[Scalar, tuple[PyTree, dict[str, Mean]]]:
    """The loss, given what `forward` returned."""


@dataclasses.dataclass(frozen=True)
class Sum:
  """A weighted sum of objectives that read one model, built by the first.

  Metrics carry the name of their part, `Translation/loss`, with its number
  where two parts have one name.
  """

  parts: tuple[Objective, ...]
  weights: tuple[float, ...]

  def __post_init__(self):
    if not self.parts or len(self.parts) != len(self.weights):
      raise ValueError(
        f'Sum has {len(self.parts)} parts and {len(self.weights)} weights; '
        'give one weight for each part, and at least one part'
      )
    configs = [getattr(part, 'model', None) for part in self.parts]
    if any(config != configs[0] for config in configs):
      raise ValueError('the parts of a Sum read one model: give all the same')

  @property
  def vocabulary(self):
    """The first part's, whose model it is."""
    return getattr(self.parts[0], 'vocabulary', '')

  def init(self, key: PRNGKey) -> tuple[nnx.Module, PyTree]:
    """The first part's model and every part's aux."""
    built = [part.init(key) for part in self.parts]
    return built[0][0], tuple(aux for _, aux in built)

  def loss(
    self,
    model: nnx.Module,
    aux: PyTree,
    batch: Batch,
    key: PRNGKey,
    *,
    train: bool,
  ) -> tuple[Scalar, tuple[PyTree, dict[str, Mean]]]:
    """Every part sees the same batch and key."""
    total, next_aux, metrics, results = 0.0, [], {}, {}
    for name, part, weight, part_aux in zip(
      self._names(), self.parts, self.weights, aux, strict=True
    ):
      if isinstance(part, SharesForward):
        if part.forward not in results:
          result = part.forward(model, batch, key, train=train)
          results[part.forward] = result
        scored = part.score(model, part_aux, batch, results[part.forward])
      else:
        scored = part.loss(model, part_aux, batch, key, train=train)
      loss, (part_aux, part_metrics) = scored
      total = total + weight * loss
      next_aux.append(part_aux)
      metrics |= {f'{name}/{k}': m for k, m in part_metrics.items()}
    return total, (tuple(next_aux), metrics)

  def _names(self) -> list[str]:
    names = [type(part).__name__ for part in self.parts]
    return [
      f'{name}{i}' if names.count(name) > 1 else name
      for i, name in enumerate(names)
    ]


def mean_where(
  values: Float[Array, '*s'] | Bool[Array, '*s'], where: Bool[Array, '*s']
) -> Mean:
  """The mean of what is chosen, over the batch on all devices."""
  kept = jnp.where(where, values, 0).astype(jnp.float32)
  return Mean(kept.sum(), where.sum(dtype=jnp.float32))


def value(mean: Mean) -> Scalar:
  """Total over weight; 0, not NaN, for a mean of nothing."""
  return mean.total / jnp.maximum(mean.weight, 1)
