"""The amino acid instead of the codon, where the codon was only drawn."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from Bio.Data import CodonTable

from backbone.array_types import Array, Batch, Bool, Float, Mean, PyTree, Scalar
from backbone.train.objective import mean_where, value
from data_pipelines import central_dogma
from lifecode.model import LifeCode
from lifecode.objectives.masked import (
  MaskedObjective,
  MaskedRows,
)
from lifecode.objectives.translation import targets
from lifecode.tokenizers.interface import CODON
from lifecode.tokenizers.lookup import word_ids


@dataclasses.dataclass(frozen=True, kw_only=True)
class AminoAcidMarginal(MaskedObjective):
  """-log Σ p(codon) over the synonyms of the residue, in nats a codon.

  For hidden codons that reverse translation drew: which synonym it drew is
  noise, which residue stands there is not. The probabilities are those of
  masked modelling, so no head is added. With bases predicted apart, p(codon)
  is a product, which cannot split serine, leucine or arginine as it may need:
  use a codon head where this score matters.
  """

  def score(
    self, model: LifeCode, aux: PyTree, batch: Batch, rows: MaskedRows
  ) -> tuple[Scalar, tuple[PyTree, dict[str, Mean]]]:
    nats, is_target = residue_nats(
      model.codons(rows.encoded), batch, rows.is_hidden[:, ::CODON]
    )
    loss = mean_where(nats, is_target & batch['codon_is_sampled'][:, ::CODON])
    return value(loss), (aux, {'loss': loss})


def residue_nats(
  codons: Float[Array, 'B T 64'],
  batch: Batch,
  is_hidden: Bool[Array, 'B T'],
) -> tuple[Float[Array, 'B T'], Bool[Array, 'B T']]:
  """-log p of the residue at each hidden codon, and where there is one."""
  residue, is_residue = targets(batch)
  table = jnp.asarray(_amino_acid_of_codon())
  read = table[batch['genetic_code'][:, ::CODON].astype(jnp.int32)]
  is_synonym = read == residue[..., None].astype(read.dtype)
  # A GTG start reads M though it is none of M's codons, and in some codes a
  # stop is a residue elsewhere: no codon's probability says that.
  true = word_ids(batch['sequence'].astype(jnp.int32), CODON)[..., None]
  is_target = (
    is_hidden & is_residue & (is_synonym & (true == jnp.arange(64))).any(-1)
  )
  safe = jnp.where(is_synonym.any(-1, keepdims=True), is_synonym, True)
  log_p = jax.nn.logsumexp(codons, axis=-1, where=safe)
  return -log_p, is_target


@functools.cache
def _amino_acid_of_codon() -> np.ndarray:
  """`[table, codon]`: index into `AMINO_ACIDS`, by NCBI table number."""
  known = CodonTable.unambiguous_dna_by_id
  rows = np.full((max(known) + 1, 64), 255, np.uint8)
  for table in known:
    rows[table] = central_dogma.genetic_code(table).amino_acid_of_codon
  return rows
