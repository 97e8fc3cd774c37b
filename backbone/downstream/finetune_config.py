"""What of fine-tuning can be set."""

import dataclasses
from typing import Literal, get_args

from backbone.downstream import metrics
from backbone.downstream.batches import BatchShape
from backbone.downstream.lora import LoRAConfig
from backbone.train.optim import AdamW

Mode = Literal['full', 'lora', 'frozen']


@dataclasses.dataclass(frozen=True)
class FineTuneConfig:
  """What is trained, and how.

  Attributes:
    mode: Everything, low-rank adapters, or nothing but the head.
    learning_rates: Peaks, chosen among on validation.
    weight_decay: Decoupled; norms and biases have none. In mode 'full' what
      `encode` does not use (a pretraining head) decays all the same.
    epochs: Passes over train at most; the cosine ends with the last.
    min_updates: Small sets are passed over more often, for so many updates,
      and patience is not lost before.
    warmup: Share of the updates in which the learning rate rises.
    patience: Epochs without a better validation score until training stops.
    clip_norm: Largest global norm of the gradient.
    average: Decay of a moving average of what is trained, which is scored in
      its place; 0 is none.
    both_strands: Train on a strand drawn for each example and pass, and score
      the mean of both. Of genomic DNA alone, which has two.
    has_maximum: Whether the head reads the maximum over the units beside their
      mean.
    lora: Of mode 'lora'.
    batches: Examples of an update, and what goes through the encoder at once.
    seed: Of the order of examples, the head and the adapters.
    bootstrap: Of the test score.
  """

  mode: Mode = 'full'
  learning_rates: tuple[float, ...] = (1e-4,)
  weight_decay: float = 0.1
  epochs: int = 20
  min_updates: int = 0
  warmup: float = 0.01
  patience: int = 3
  clip_norm: float = 1.0
  average: float = 0.0
  both_strands: bool = False
  has_maximum: bool = False
  lora: LoRAConfig = dataclasses.field(default_factory=LoRAConfig)
  batches: BatchShape = dataclasses.field(default_factory=BatchShape)
  seed: int = 0
  bootstrap: metrics.Bootstrap = dataclasses.field(
    default_factory=metrics.Bootstrap
  )

  def __post_init__(self):
    if self.mode not in get_args(Mode):
      raise ValueError(f'mode {self.mode!r} is none of {get_args(Mode)}')
    if not self.learning_rates or min(self.learning_rates) <= 0:
      raise ValueError(f'learning_rates={self.learning_rates}; not positive')
    if min(self.epochs, self.patience) < 1:
      raise ValueError('epochs and patience must be at least 1')
    for name in ('warmup', 'average'):
      if not 0 <= getattr(self, name) < 1:
        raise ValueError(f'{name}={getattr(self, name)}; it must be in [0, 1)')

  def optimizer(self, steps: int) -> AdamW:
    """With a peak of 1: updates are multiplied by the learning rate.

    So that all learning rates share a compilation.
    """
    return AdamW(
      learning_rate=1.0,
      warmup_steps=int(self.warmup * steps),
      weight_decay=self.weight_decay,
      clip_norm=self.clip_norm,
    )
