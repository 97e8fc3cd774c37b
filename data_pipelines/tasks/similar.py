"""Proteins so alike that one of them tells what the other does."""

import dataclasses
from collections.abc import Collection

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from data_pipelines.errors import InputError


@dataclasses.dataclass(frozen=True)
class SimilarProteins:
  """Clusters proteins by the k-mers of residues that they share.

  Two are alike if they share enough of the k-mers of the one that has fewer;
  who is like a member is a member (single linkage). Of 5-mers an identity of p
  leaves about p**5: a share of 0.1 is one of 63 %, and remoter relatives stay
  apart.

  Attributes:
    k: Residues in a k-mer.
    share: Of the k-mers, from which on two proteins are alike; above 0.
  """

  k: int = 5
  share: float = 0.1

  def __post_init__(self):
    if self.k < 1 or not 0 < self.share <= 1:
      raise InputError(
        f'k {self.k} and share {self.share}: give at least 1, and a share '
        'above 0 and up to 1'
      )

  def __call__(self, proteins: Collection[str]) -> dict[str, str]:
    """Of each protein the one that names its cluster, whatever their order."""
    distinct = sorted(set(proteins))
    shared = self._counts(distinct)
    size = shared.diagonal()
    pairs = shared.tocoo()
    smaller = np.minimum(size[pairs.row], size[pairs.col])
    is_alike = pairs.data >= self.share * smaller
    alike = sparse.coo_array(
      (is_alike[is_alike], (pairs.row[is_alike], pairs.col[is_alike])),
      shape=shared.shape,
    )
    _, cluster = csgraph.connected_components(alike, directed=False)
    _, first = np.unique(cluster, return_index=True)
    return {
      protein: distinct[first[number]]
      for protein, number in zip(distinct, cluster, strict=True)
    }

  def _counts(self, proteins: list[str]) -> sparse.csr_array:
    """How many distinct k-mers any two have in common, themselves included."""
    column: dict[str, int] = {}
    columns, bounds = [], [0]
    for protein in proteins:
      last = max(1, len(protein) - self.k + 1)
      words = {protein[start : start + self.k] for start in range(last)}
      columns += [column.setdefault(word, len(column)) for word in words]
      bounds.append(len(columns))
    has = sparse.csr_array(
      (np.ones(len(columns), np.int64), columns, bounds),
      shape=(len(proteins), len(column)),
    )
    return has @ has.T
