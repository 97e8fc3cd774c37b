"""Distillation from a protein language model on coding sequence (L_kd)."""

import dataclasses

import jax
import jax.numpy as jnp

from backbone.array_types import (
  Array,
  Batch,
  Float,
  Mean,
  PRNGKey,
  PyTree,
  Scalar,
)
from backbone.train.objective import mean_where, value
from lifecode.model import LifeCode
from lifecode.objectives.masked import (
  MaskedObjective,
  MaskedRows,
)
from lifecode.teacher.features import Teacher, untaught_residues
from lifecode.tokenizers.interface import CODON

_EPSILON = 1e-6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Distillation(MaskedObjective):
  """The mean over residues of 1 - cos(W h, t) + 0.5 smoothL1(W h, t).

  h is the vector of a codon in the *masked* row, t the teacher's last layer at
  its residue in the *true* protein, normalised and without gradient: so it is
  no copy. The form and its weight are ours; only that structure is distilled
  from protein language models is published (Life-Code, abstract).

  Attributes:
    teacher: Where t comes from.
    smooth_l1_weight: Of the second term, itself a mean over W.
  """

  teacher: Teacher
  smooth_l1_weight: float | int = 0.5

  def __post_init__(self):
    if self.model.teacher_width != self.teacher.width:
      raise ValueError(
        f'the teacher ({self.teacher.label}) has {self.teacher.width} features '
        f'a residue; set teacher_width of the model to that, not to '
        f'{self.model.teacher_width}'
      )

  def init(self, key: PRNGKey) -> tuple[LifeCode, PyTree]:
    """A model with new weights; the teacher's are beside the gradient."""
    return LifeCode(self.model, key=key), self.teacher.init()

  def score(
    self, model: LifeCode, aux: PyTree, batch: Batch, rows: MaskedRows
  ) -> tuple[Scalar, tuple[PyTree, dict[str, Mean]]]:
    vectors = model.codon_vectors(rows.encoded)
    guess = model.projector(vectors).astype(jnp.float32)
    features = self.teacher.features(aux, batch).astype(jnp.float32)
    truth = _normalize(jax.lax.stop_gradient(features))
    cosine = _cosine(guess, truth)
    distance = _smooth_l1(guess - truth).mean(-1)
    is_taught = self.teacher.is_taught(batch)
    loss = mean_where(1 - cosine + self.smooth_l1_weight * distance, is_taught)
    return value(loss), (
      aux,
      {
        'loss': loss,
        'cosine_hidden': mean_where(
          cosine, is_taught & rows.is_hidden[:, ::CODON]
        ),
        'cosine': mean_where(cosine, is_taught),
        'untaught_residues': untaught_residues(self.teacher, batch),
      },
    )


def _normalize(x: Float[Array, '... W']) -> Float[Array, '... W']:
  """Layer norm without weights."""
  centred = x - x.mean(-1, keepdims=True)
  variance = jnp.square(centred).mean(-1, keepdims=True)
  return centred * jax.lax.rsqrt(variance + _EPSILON)


def _cosine(
  one: Float[Array, '... W'], other: Float[Array, '... W']
) -> Float[Array, '...']:
  norms = jnp.square(one).sum(-1) * jnp.square(other).sum(-1)
  return (one * other).sum(-1) * jax.lax.rsqrt(norms + _EPSILON)


def _smooth_l1(x: Float[Array, '...']) -> Float[Array, '...']:
  """x² / 2 up to 1, |x| - 1/2 beyond."""
  return jnp.where(jnp.abs(x) < 1, jnp.square(x) / 2, jnp.abs(x) - 0.5)
