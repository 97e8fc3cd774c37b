"""Coding, non-coding or unknown: what is said of a unit beside its bases."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from backbone.array_types import Array, Batch, Bool, Float, Int, PRNGKey
from data_pipelines import records

UNKNOWN, NON_CODING, CODING = range(3)


@dataclasses.dataclass(frozen=True)
class RegionLabels:
  """Which labels the encoder is given (Life-Code encodes CDS and nCDS apart).

  A unit is coding if all its bases are in codons of the annotation; one that
  straddles the edge of a CDS is not. Genomic windows carry no annotation here,
  so theirs are unknown.

  Attributes:
    dropout: Probability that a segment's labels are withheld in training, so
      that sequence without annotation is read as well.
  """

  dropout: float = 0.5

  def __post_init__(self):
    if not 0 <= self.dropout <= 1:
      raise ValueError(f'dropout {self.dropout} is no probability')

  def __call__(
    self, batch: Batch, unit: int, key: PRNGKey, *, train: bool
  ) -> Int[Array, 'B T']:
    """The label of each unit of `unit` bases."""
    labels = of_units(batch, unit)
    if not train:
      return labels
    segment_ids = batch['segment_ids'][:, ::unit]
    draws = jax.random.uniform(key, labels.shape)
    # Each segment has a draw: there are no more segments than units.
    draw = jnp.take_along_axis(draws, segment_ids - 1, axis=1)
    return jnp.where(draw < self.dropout, UNKNOWN, labels)


def of_units(batch: Batch, unit: int) -> Int[Array, 'B T']:
  """Labels as the annotation has them."""
  is_coding = batch['codon_phase'] != records.PHASE_NONE
  rows, length = is_coding.shape
  is_coding: Bool[Array, 'B T'] = is_coding.reshape(
    rows, length // unit, unit
  ).all(-1)
  is_genome = batch['kind'][:, ::unit] == records.GENOME
  without = jnp.where(is_genome, UNKNOWN, NON_CODING)
  return jnp.where(is_coding, CODING, without)


class RegionEmbedding(nnx.Module):
  """A vector for each label, added to its units; nought at the start."""

  def __init__(self, width: int):
    self.table = nnx.Param(jnp.zeros((3, width)))

  def __call__(
    self, labels: Int[Array, 'B T'], dtype: jnp.dtype
  ) -> Float[Array, 'B T D']:
    table = self.table[...].astype(dtype)
    return jax.nn.one_hot(labels, 3, dtype=dtype) @ table
