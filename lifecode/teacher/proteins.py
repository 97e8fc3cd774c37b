"""The proteins of a packed batch of codons, as packed rows of ESM-2 tokens."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from backbone.array_types import Array, Batch, Bool, Float, Int
from backbone.sharding import shard
from data_pipelines.records import AMINO_ACIDS
from lifecode.teacher.esm2 import CLS, EOS, PAD, VOCABULARY

# ESM-2 was trained on at most 1,024 tokens, <cls> and <eos> among them.
MAX_RESIDUES = 1_022
# By index into `AMINO_ACIDS`; `PAD` for a stop and for no residue.
TOKENS = np.array(
  [PAD if a == '*' else VOCABULARY.index(a) for a in AMINO_ACIDS] + [PAD]
)


class ProteinRows(NamedTuple):
  """Rows of `<cls> residues <eos>`, protein after protein.

  Attributes:
    tokens: Indices into ESM-2's `VOCABULARY`.
    segment_ids: 1, 2, ... for the proteins of a row, 0 for padding.
    positions: Of a token within its protein, <cls> at 0.
    slots: Of each unit of the batch, where in the row its residue stands; C
      where it has none there.
  """

  tokens: Int[Array, 'B C']
  segment_ids: Int[Array, 'B C']
  positions: Int[Array, 'B C']
  slots: Int[Array, 'B T']

  @property
  def is_packed(self) -> Bool[Array, 'B T']:
    """Units whose residue stands in the row."""
    return self.slots < self.tokens.shape[1]

  def to_units(self, x: Float[Array, 'B C W']) -> Float[Array, 'B T W']:
    """What `x` has at the residue of each unit; zeros where there is none."""
    slots = jnp.minimum(self.slots, x.shape[1] - 1)
    found = jnp.take_along_axis(x, slots[..., None], axis=1)
    found = jnp.where(self.is_packed[..., None], found, 0)
    return shard(found, 'batch', 'length', 'embed')


def has_residue(batch: Batch) -> Bool[Array, 'B T']:
  """Units that hold one of the 20 amino acids, U, O or X."""
  return _tokens_of_units(batch) != PAD


def pack(batch: Batch, max_proteins: int) -> ProteinRows:
  """Every segment's residues as a protein: rows of C = T + 2 max_proteins.

  Stops are left out. So are segments of more than `MAX_RESIDUES` residues, and
  in each row those after the first `max_proteins` proteins; `is_packed` says
  which residues are in.

  Args:
    batch: `amino_acid` and `segment_ids` of a packed batch, [B, 3 T].
    max_proteins: In a row.
  """
  make = functools.partial(_pack_row, max_proteins=max_proteins)
  rows = jax.vmap(make)(_tokens_of_units(batch), batch['segment_ids'][:, ::3])
  return ProteinRows(*(shard(x, 'batch', 'length') for x in rows))


def _tokens_of_units(batch: Batch) -> Int[Array, 'B T']:
  tokens = jnp.asarray(TOKENS)[batch['amino_acid'][:, ::3].astype(jnp.int32)]
  return jnp.where(batch['segment_ids'][:, ::3] > 0, tokens, PAD)


def _pack_row(
  tokens: Int[Array, 'T'], segment_ids: Int[Array, 'T'], *, max_proteins: int
) -> ProteinRows:
  num_units = tokens.shape[0]
  capacity = num_units + 2 * max_proteins
  # Of each segment: residues, number of the protein in the row from 1 on,
  # residues of the proteins before it.
  count = jax.ops.segment_sum(
    (tokens != PAD).astype(jnp.int32), segment_ids, num_units + 1
  )
  is_protein = (count > 0) & (count <= MAX_RESIDUES)
  number = jnp.cumsum(is_protein)
  is_protein &= number <= max_proteins
  before = jnp.cumsum(count * is_protein) - count

  is_packed = (tokens != PAD) & is_protein[segment_ids]
  rank = jnp.cumsum(is_packed) - 1
  place = rank - before[segment_ids]
  slots = rank + 2 * number[segment_ids] - 1

  def put(row, is_put, slots, values):
    return row.at[jnp.where(is_put, slots, capacity)].set(values, mode='drop')

  row = jnp.full(capacity, PAD)
  row = put(row, is_packed, slots, tokens)
  row = put(row, is_packed & (place == 0), slots - 1, CLS)
  is_last = place == count[segment_ids] - 1
  row = put(row, is_packed & is_last, slots + 1, EOS)

  is_token, is_start = row != PAD, row == CLS
  index = jnp.arange(capacity)
  start = jax.lax.cummax(jnp.where(is_start, index, 0))
  return ProteinRows(
    tokens=row,
    segment_ids=jnp.cumsum(is_start) * is_token,
    positions=(index - start) * is_token,
    slots=jnp.where(is_packed, slots, capacity),
  )
