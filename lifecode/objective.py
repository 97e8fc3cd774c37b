"""Masked modelling of units (Life-Code, abstract; our reading of §4.2)."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from backbone.array_types import (
  Array,
  Batch,
  Bool,
  Float,
  Mean,
  PRNGKey,
  Scalar,
)
from lifecode.masking import UnitMasking
from lifecode.model import VOCABULARY, LifeCode, LifeCodeConfig


@dataclasses.dataclass(frozen=True)
class Pretrain:
  """Predicts the hidden bases of masked units, 3 x 4-way.

  Attributes:
    model: The model to train.
    masking: What it must predict.
    soft_mask_weight: Weight of a base written in lower case (a repeat).
  """

  model: LifeCodeConfig
  masking: UnitMasking = dataclasses.field(default_factory=UnitMasking)
  soft_mask_weight: float = 1.0

  vocabulary = VOCABULARY

  def init(self, key: PRNGKey) -> tuple[LifeCode, tuple]:
    """A model with new weights; no state outside the gradient."""
    return LifeCode(self.model, key=key), ()

  def loss(
    self,
    model: LifeCode,
    aux: tuple,
    batch: Batch,
    key: PRNGKey,
    *,
    train: bool,
  ) -> tuple[Scalar, tuple[tuple, dict[str, Mean]]]:
    """Mean cross-entropy of the hidden bases, in nats."""
    bits, is_right, is_target = self.bits(model, batch, key, train=train)
    repeat_weight = jnp.where(batch['soft_mask'], self.soft_mask_weight, 1.0)
    weight = is_target * repeat_weight
    total = jnp.sum(weight)
    loss = jnp.log(2.0) * jnp.sum(bits * weight) / jnp.maximum(total, 1)
    num_targets = jnp.sum(is_target, dtype=jnp.float32)
    return loss, (
      aux,
      {
        'bits_per_base': Mean(jnp.sum(bits), num_targets),
        'accuracy': Mean(jnp.sum(is_right, dtype=jnp.float32), num_targets),
      },
    )

  def bits(
    self, model: LifeCode, batch: Batch, key: PRNGKey, *, train: bool
  ) -> tuple[Float[Array, 'B N'], Bool[Array, 'B N'], Bool[Array, 'B N']]:
    """-log2 p of each hidden base, whether it was the best guess, and where.

    N and padding are hidden with their unit but never a target.
    """
    sequence = batch['sequence'].astype(jnp.int32)
    segment_ids = batch['segment_ids']
    corrupted, is_selected = self.masking(
      sequence, segment_ids, key, train=train
    )
    logits = model.logits(corrupted, segment_ids, batch['positions'])
    is_target = is_selected & (sequence < 4)
    # One-hot instead of a gather, whose gradient would be a scatter.
    truth = jax.nn.one_hot(sequence, 4)
    surprise = -jnp.sum(jax.nn.log_softmax(logits) * truth, axis=-1)
    is_right = is_target & (jnp.argmax(logits, axis=-1) == sequence)
    return is_target * surprise / np.log(2.0), is_right, is_target
