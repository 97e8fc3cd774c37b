"""Translation: the residue of a codon (our reading of "models translation")."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from backbone.array_types import Array, Batch, Bool, Int, Mean, PyTree, Scalar
from backbone.train.objective import mean_where, value
from lifecode.model import NUM_AMINO_ACIDS, LifeCode
from lifecode.objectives.masked import (
  MaskedObjective,
  MaskedRows,
)
from lifecode.tokenizers.interface import CODON


@dataclasses.dataclass(frozen=True, kw_only=True)
class Translation(MaskedObjective):
  """Cross-entropy of 20 amino acids and the stop, in nats a codon.

  Residues are those of the record: under its own genetic code, with a start
  codon read as M. Selenocysteine, pyrrolysine and X are no target, and
  genomic windows have none. Of a codon that is seen, this asks for a table of
  64 entries; of a hidden one, for what the protein allows there.

  Attributes:
    positions: Which codons count: 'hidden' ones, or 'all'.
  """

  positions: Literal['hidden', 'all'] = 'hidden'

  def __post_init__(self):
    if self.positions not in ('hidden', 'all'):
      raise ValueError(f'positions {self.positions!r}: choose hidden or all')
    if not self.model.translation_head:
      raise ValueError('translation needs a model with translation_head=True')

  def score(
    self, model: LifeCode, aux: PyTree, batch: Batch, rows: MaskedRows
  ) -> tuple[Scalar, tuple[PyTree, dict[str, Mean]]]:
    vectors = model.codon_vectors(rows.encoded)
    logits = model.translation(vectors).astype(jnp.float32)
    residue, is_target = targets(batch)
    truth = jax.nn.one_hot(residue, NUM_AMINO_ACIDS)
    nats = -(jax.nn.log_softmax(logits) * truth).sum(-1)
    is_right = (logits.argmax(-1) == residue).astype(jnp.float32)
    is_hidden = is_target & rows.is_hidden[:, ::CODON]
    is_seen = is_target & ~is_hidden
    chosen = is_hidden if self.positions == 'hidden' else is_target
    loss = mean_where(nats, chosen)
    return value(loss), (
      aux,
      {
        'loss': loss,
        'accuracy_hidden': mean_where(is_right, is_hidden),
        'accuracy_seen': mean_where(is_right, is_seen),
      },
    )


def targets(batch: Batch) -> tuple[Int[Array, 'B T'], Bool[Array, 'B T']]:
  """The residue of each codon, and whether it is one of the 20 or a stop."""
  residue = batch['amino_acid'][:, ::CODON].astype(jnp.int32)
  return residue, residue < NUM_AMINO_ACIDS
