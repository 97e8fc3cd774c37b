"""Masked modelling of codon-sized units (Life-Code, abstract; our L_mlm)."""

import dataclasses

import jax.numpy as jnp
import numpy as np

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
from backbone.train.objective import mean_where
from lifecode.model import LifeCode
from lifecode.objectives.masked import (
  MaskedForward,
  MaskedObjective,
  MaskedRows,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskedModelling(MaskedObjective):
  """Cross-entropy of the bases of selected units, in nats a base.

  N and padding are hidden with their unit but never a target. Nor is a codon
  that was drawn by reverse translation, whose synonym is noise: see
  `amino_acid_marginal`.

  Attributes:
    soft_mask_weight: Weight of a base written in lower case (a repeat).
    sampled_codon_weight: Weight of a base of a drawn codon.
  """

  soft_mask_weight: float | int = 1.0
  sampled_codon_weight: float | int = 0.0

  def score(
    self, model: LifeCode, aux: PyTree, batch: Batch, rows: MaskedRows
  ) -> tuple[Scalar, tuple[PyTree, dict[str, Mean]]]:
    scores = model.scores(rows.encoded, rows.sequence)
    is_target = (rows.is_hidden | rows.is_shown) & scores.is_scored
    weight = jnp.where(batch['soft_mask'], self.soft_mask_weight, 1.0)
    weight *= jnp.where(
      batch['codon_is_sampled'], self.sampled_codon_weight, 1.0
    )
    weight = jnp.where(is_target, weight, 0.0)
    loss = (scores.nats * weight).sum() / jnp.maximum(weight.sum(), 1)
    is_counted = is_target & ~batch['codon_is_sampled']
    return loss, (
      aux,
      {
        'bits_per_base': mean_where(scores.nats / np.log(2.0), is_counted),
        'accuracy': mean_where(scores.is_right.astype(jnp.float32), is_counted),
      },
    )


def hidden_bits(
  forward: MaskedForward, model: LifeCode, batch: Batch, key: PRNGKey
) -> tuple[Float[Array, 'B N'], Bool[Array, 'B N']]:
  """-log2 p of each hidden base, and where there is one; nothing is shown."""
  rows = forward(model, batch, key, train=False)
  scores = model.scores(rows.encoded, rows.sequence)
  is_target = rows.is_hidden & scores.is_scored
  return jnp.where(is_target, scores.nats / np.log(2.0), 0), is_target
