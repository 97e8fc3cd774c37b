"""AdamW with warm-up, cosine decay, clipping and a decay mask by path."""

import dataclasses
import math
import re
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax

from backbone.array_types import PyTree
from backbone.sharding import path_name


@runtime_checkable
class Optimizer(Protocol):
  """Configuration of an optimizer, complete but for the length of the run."""

  def schedule(self, steps: int) -> optax.Schedule:
    """Learning rate by step."""

  def transform(self, steps: int) -> optax.GradientTransformation:
    """The optax transformation."""


@dataclasses.dataclass(frozen=True)
class AdamW:
  """Configuration of the optimizer.

  Attributes:
    learning_rate: Peak, reached at the end of the warm-up.
    warmup_steps: Steps of linear warm-up.
    final_fraction: Learning rate at the last step over the peak.
    b1: Decay of the first moment.
    b2: Decay of the second moment.
    epsilon: Added to the root of the second moment.
    weight_decay: Decoupled; times the learning rate.
    clip_norm: Largest global norm of the gradient.
    no_decay: Regexes on the parameter's path; a match is not decayed, nor is
      a parameter of fewer than two dimensions. Stacked blocks add a dimension,
      so norms and biases are found by name.
  """

  learning_rate: float = 1e-3
  warmup_steps: int = 100
  final_fraction: float = 0.1
  b1: float = 0.9
  b2: float = 0.95
  epsilon: float = 1e-8
  weight_decay: float = 0.1
  clip_norm: float = 1.0
  no_decay: tuple[str, ...] = (
    r'(^|/)(scale|bias)$',
    r'(^|[/_])norm([/_]|$)',
    r'decay_(log_rate|bias)$',
    r'(^|/)decay/',
    r'(^|[/_])dt([/_]|$)',
  )

  def __post_init__(self):
    for name in ('learning_rate', 'clip_norm', 'epsilon'):
      value = getattr(self, name)
      if not (value > 0 and math.isfinite(value)):
        raise ValueError(f'{name}={value}; it must be positive')
    if self.warmup_steps < 0:
      raise ValueError(f'warmup_steps={self.warmup_steps}; it must be >= 0')

  def schedule(self, steps: int) -> optax.Schedule:
    """Learning rate by step; the last of `steps` has the final fraction.

    Raises:
      ValueError: The warm-up does not end before the run does.
    """
    if self.warmup_steps >= steps:
      raise ValueError(
        f'warmup_steps={self.warmup_steps} is not below steps={steps}; set '
        'config.optimizer.warmup_steps lower'
      )
    span = max(steps - 1 - self.warmup_steps, 1)

    def learning_rate(step):
      warmup = (step + 1) / (self.warmup_steps + 1)
      progress = jnp.clip((step - self.warmup_steps) / span, 0, 1)
      cosine = 0.5 * (1 + jnp.cos(jnp.pi * progress))
      decayed = self.final_fraction + (1 - self.final_fraction) * cosine
      return self.learning_rate * jnp.minimum(warmup, decayed)

    return learning_rate

  def transform(self, steps: int) -> optax.GradientTransformation:
    """Clipping, then AdamW on the schedule of a run of `steps`."""
    return optax.chain(
      optax.clip_by_global_norm(self.clip_norm),
      optax.adamw(
        self.schedule(steps),
        b1=self.b1,
        b2=self.b2,
        eps=self.epsilon,
        weight_decay=self.weight_decay,
        mask=self.decay_mask,
      ),
    )

  def decay_mask(self, params: PyTree) -> PyTree:
    """True where weight decay applies."""

    def is_decayed(path, leaf) -> bool:
      name = path_name(path)
      is_exempt = any(re.search(p, name) for p in self.no_decay)
      return leaf.ndim > 1 and not is_exempt

    return jax.tree_util.tree_map_with_path(is_decayed, params)
