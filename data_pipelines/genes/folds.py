"""Which genes train, tune and test: whole regions, no paralogue twice."""

import dataclasses
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from jaxtyping import Int, Shaped

from data_pipelines.errors import InputError
from data_pipelines.genes.gene import GeneSet
from data_pipelines.tasks import table

# What BED files of Basenji and its heirs call them.
_REGIONS = {'train': 'train', 'valid': 'validation', 'test': 'test'}


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


@dataclasses.dataclass(frozen=True)
class Regions:
  """Genes by the regions that another model was trained and tested on.

  The strict split for features of that model: none of its training windows
  holds the start of a tested gene. Genes outside all regions or in two splits
  of them, and those like a tested one, are in no split.

  Attributes:
    path: BED, plain or gzip, of contig, start, end and train, valid or test,
      such as sequences.bed of Basenji2, whose regions are Enformer's too
      (doi:10.1038/s41592-021-01252-x).
  """

  path: str

  def __call__(self, genes: GeneSet) -> Shaped[np.ndarray, 'e']:
    """'train', 'validation', 'test' or '' of each gene.

    Raises:
      InputError: A row is none of a region, or no gene is in any.
    """
    spans = self._spans()
    of_gene = []
    for gene in genes.genes:
      found = {
        split
        for split, of_contig in spans.items()
        if _is_in(of_contig.get(gene.contig), gene.anchor)
      }
      of_gene.append(found.pop() if len(found) == 1 else '')
    if not any(of_gene):
      raise InputError(
        f'{self.path}: no gene begins in any of its regions; name contigs '
        'alike, and give regions of the same genome build'
      )
    clusters = [gene.cluster or gene.name for gene in genes.genes]
    pairs = list(zip(clusters, of_gene, strict=True))
    tested = {cluster for cluster, split in pairs if split == 'test'}
    return np.array(
      [
        split if split == 'test' or cluster not in tested else ''
        for cluster, split in pairs
      ]
    )

  def _spans(self) -> dict[str, dict[str, Int[np.ndarray, 'r 2']]]:
    """By split, by contig."""
    found = defaultdict(lambda: defaultdict(list))
    columns = ('contig', 'start', 'end', 'split')
    rows = table.read(
      Path(self.path), columns, delimiter='\t', has_header=False
    )
    for row in rows:
      split = _REGIONS[row.choice('split', tuple(_REGIONS))]
      span = row.integer('start'), row.integer('end')
      found[split][row.text('contig')].append(span)
    return {
      split: {contig: np.array(rows) for contig, rows in of_contig.items()}
      for split, of_contig in found.items()
    }


def _is_in(spans: Int[np.ndarray, 'r 2'] | None, place: int) -> bool:
  if spans is None:
    return False
  return bool(((spans[:, 0] <= place) & (place < spans[:, 1])).any())
