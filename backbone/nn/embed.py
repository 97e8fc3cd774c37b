"""Embedding of a small vocabulary."""

import jax
import jax.numpy as jnp
from flax import nnx

from backbone.array_types import Array, Float, Int


class Embed(nnx.Module):
  """A table of vectors, read as a product with one-hot rows.

  Nucleotide vocabularies have a handful of entries: the product is as fast as
  a gather, and its gradient needs no scatter.
  """

  def __init__(self, num_entries: int, width: int, *, rngs: nnx.Rngs):
    table = jax.random.normal(rngs.params(), (num_entries, width))
    self.table = nnx.Param(table)

  def __call__(
    self, ids: Int[Array, 'B N'], dtype: jnp.dtype = jnp.float32
  ) -> Float[Array, 'B N D']:
    table = self.table[...].astype(dtype)
    return jax.nn.one_hot(ids, table.shape[0], dtype=dtype) @ table
