"""Which genes train, tune and test: whole chromosomes, no paralogue twice."""

import dataclasses
from collections import Counter

import numpy as np
from jaxtyping import Shaped

from data_pipelines.errors import InputError
from data_pipelines.genes.gene import GeneSet


@dataclasses.dataclass(frozen=True)
class ChromosomeFold:
  """Chromosomes dealt into folds of about as many genes; one of them tests.

  A gene of another chromosome that is like a tested one trains nobody: it is
  in no split. Validation takes whole clusters of the rest.

  Attributes:
    fold: Which is tested, from 0.
    num_folds: Of how many.
    validation: Share of the clusters that are not tested.
    seed: Of the choice of these.
  """

  fold: int = 0
  num_folds: int = 5
  validation: float = 0.1
  seed: int = 0

  def __post_init__(self):
    if not 0 <= self.fold < self.num_folds or not 0 < self.validation < 1:
      raise InputError(
        f'fold {self.fold} of {self.num_folds}, validation {self.validation}: '
        'give a fold below their number, and a share between 0 and 1'
      )

  def __call__(self, genes: GeneSet) -> Shaped[np.ndarray, 'e']:
    """'train', 'validation', 'test' or '' (like a tested one) of each gene."""
    sizes = Counter(gene.contig for gene in genes.genes)
    if len(sizes) < self.num_folds:
      raise InputError(
        f'{len(sizes)} contigs have genes; num_folds={self.num_folds} needs as '
        'many at least'
      )
    folds: list[list[str]] = [[] for _ in range(self.num_folds)]
    for contig, _ in sorted(sizes.items(), key=lambda c: (-c[1], c[0])):
      min(folds, key=lambda fold: sum(sizes[c] for c in fold)).append(contig)
    tested = set(folds[self.fold])
    is_test = np.array([gene.contig in tested for gene in genes.genes])
    clusters = [gene.cluster or gene.name for gene in genes.genes]
    of_test = {c for c, chosen in zip(clusters, is_test, strict=True) if chosen}
    rest = sorted(set(clusters) - of_test)
    order = np.random.default_rng([self.seed, self.fold]).permutation(len(rest))
    number = max(1, round(self.validation * len(rest)))
    chosen = {rest[i] for i in order[:number].tolist()}
    return np.array(
      [
        'test'
        if is_tested
        else ''
        if cluster in of_test
        else 'validation'
        if cluster in chosen
        else 'train'
        for is_tested, cluster in zip(is_test, clusters, strict=True)
      ]
    )
