"""What the trainer knows of a paper: an objective builds a model and a loss."""

import dataclasses
from typing import Protocol, runtime_checkable

from flax import nnx

from backbone.array_types import Batch, Mean, PRNGKey, PyTree, Scalar


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


@dataclasses.dataclass(frozen=True)
class Sum:
  """A weighted sum of objectives that read one model, built by the first.

  Metrics carry the number of their part: `0/loss`.
  """

  parts: tuple[Objective, ...]
  weights: tuple[float, ...]

  def __post_init__(self):
    if not self.parts or len(self.parts) != len(self.weights):
      raise ValueError(
        f'Sum has {len(self.parts)} parts and {len(self.weights)} weights; '
        'give one weight for each part, and at least one part'
      )

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
    total, next_aux, metrics = 0.0, [], {}
    for i, (part, weight) in enumerate(
      zip(self.parts, self.weights, strict=True)
    ):
      value, (part_aux, part_metrics) = part.loss(
        model, aux[i], batch, key, train=train
      )
      total = total + weight * value
      next_aux.append(part_aux)
      metrics |= {f'{i}/{name}': m for name, m in part_metrics.items()}
    return total, (tuple(next_aux), metrics)
