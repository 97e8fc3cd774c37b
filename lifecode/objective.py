"""What the trainer sees of Life-Code: a sum of its objectives, by weight."""

import dataclasses
from typing import Literal

from backbone.train.objective import Sum
from lifecode.model import LifeCodeConfig
from lifecode.objectives.amino_acid_marginal import AminoAcidMarginal
from lifecode.objectives.distillation import Distillation
from lifecode.objectives.masked import MaskedForward
from lifecode.objectives.masked_modelling import MaskedModelling
from lifecode.objectives.translation import Translation
from lifecode.teacher.features import Teacher


def pretrain(
  model: LifeCodeConfig,
  *,
  forward: MaskedForward | None = None,
  masked_modelling: float | int = 1.0,
  amino_acid_marginal: float | int = 0.0,
  translation: float | int = 0.0,
  distillation: float | int = 0.0,
  teacher: Teacher | None = None,
  soft_mask_weight: float | int = 1.0,
  sampled_codon_weight: float | int = 0.0,
  translation_positions: Literal['hidden', 'all'] = 'hidden',
  smooth_l1_weight: float | int = 0.5,
) -> Sum:
  """L = L_mlm + λ_aa L_aa + λ_t L_t + λ_kd L_kd; a weight of 0 leaves one out.

  Args:
    model: The model; heads that the objectives need are added to it.
    forward: What is hidden, and which region labels are given.
    masked_modelling: Weight of the hidden bases.
    amino_acid_marginal: Weight of the residues of hidden codons that were drawn
      by reverse translation, read off the same probabilities.
    translation: λ_t.
    distillation: λ_kd.
    teacher: What to distil from.
    soft_mask_weight: Of a base in a repeat, in L_mlm.
    sampled_codon_weight: Of a base of a drawn codon, in L_mlm.
    translation_positions: Codons that count in L_t.
    smooth_l1_weight: Of the second term of L_kd.

  Raises:
    ValueError: Distillation without a teacher, or no weight above 0.
  """
  weights = {
    MaskedModelling: masked_modelling,
    AminoAcidMarginal: amino_acid_marginal,
    Translation: translation,
    Distillation: distillation,
  }
  used = {part: weight for part, weight in weights.items() if weight > 0}
  if Distillation in used and teacher is None:
    raise ValueError('distillation needs a teacher')
  model = dataclasses.replace(
    model,
    translation_head=Translation in used,
    teacher_width=teacher.width if Distillation in used else 0,
  )
  of_part = {
    MaskedModelling: {
      'soft_mask_weight': soft_mask_weight,
      'sampled_codon_weight': sampled_codon_weight,
    },
    Translation: {'positions': translation_positions},
    Distillation: {'teacher': teacher, 'smooth_l1_weight': smooth_l1_weight},
  }
  shared = {'model': model, 'forward': forward or MaskedForward()}
  return Sum(
    tuple(part(**shared, **of_part.get(part, {})) for part in used),
    tuple(map(float, used.values())),
  )
