"""Simulated genes whose expression is made by enhancers far away.

What a model of long sequence must find, with the answer known: each gene has a
promoter of some strength and one cluster of binding sites at a distance of
kilobases, on either side.
"""

import dataclasses

import numpy as np
from jaxtyping import UInt8

from data_pipelines import central_dogma, records
from data_pipelines.errors import InputError
from data_pipelines.genes.gene import Gene, GeneSet

# As data_pipelines.organism has them.
_SITES = ('ACCGGAAGTG', 'AGATAAGGCA')
_TATA = 'TATAAAAG'
_TATA_AT = -30
# Between sites of a cluster.
_SPACER = 8


@dataclasses.dataclass(frozen=True)
class PlantedEnhancers:
  """Genes on contigs of random bases; the same on every call.

  Attributes:
    num_genes: In all.
    num_contigs: Onto which they are dealt, so that folds can hold some out.
    reach: Bases on either side of a gene that are its own.
    nearest: Bases of the nearest enhancers from their gene.
    farthest: Of the farthest; distances between are even in their logarithm.
    max_sites: Binding sites of an enhancer, at most; 0 to that many alike.
    effect: What a site adds to log expression.
    promoter_effect: What a TATA box adds.
    noise: Deviation of what no sequence explains.
    seed: Of everything.
  """

  num_genes: int = 1_500
  num_contigs: int = 10
  reach: int = 8_192
  nearest: int = 512
  farthest: int = 7_680
  max_sites: int = 4
  effect: float = 0.5
  promoter_effect: float = 0.5
  noise: float = 0.2
  seed: int = 0

  def __post_init__(self):
    size = self.max_sites * (len(_SITES[0]) + _SPACER)
    if not size < self.nearest < self.farthest <= self.reach - size:
      raise InputError(
        f'nearest {self.nearest} and farthest {self.farthest}: give distances '
        f'above {size}, in order, and below the reach of {self.reach} by so '
        'many'
      )

  def __call__(self) -> GeneSet:
    rng = np.random.default_rng(self.seed)
    pieces: dict[str, list[np.ndarray]] = {}
    genes = []
    for number in range(self.num_genes):
      contig = f'contig{number % self.num_contigs}'
      before = pieces.setdefault(contig, [])
      piece, gene = self._gene(rng, number, contig)
      start = 2 * self.reach * len(before)
      before.append(piece)
      genes.append(
        dataclasses.replace(
          gene,
          anchor=gene.anchor + start,
          enhancers=tuple((a + start, b + start) for a, b in gene.enhancers),
        )
      )
    contigs = {name: np.concatenate(parts) for name, parts in pieces.items()}
    return GeneSet(contigs, genes)

  def _gene(
    self, rng: np.random.Generator, number: int, contig: str
  ) -> tuple[UInt8[np.ndarray, '_'], Gene]:
    """A piece of contig on the gene's strand, and the gene on it."""
    piece = rng.integers(0, 4, 2 * self.reach).astype(np.uint8)
    has_tata = bool(rng.integers(2))
    if has_tata:
      _write(piece, self.reach + _TATA_AT, _TATA)
    distance = int(np.exp(rng.uniform(*np.log([self.nearest, self.farthest]))))
    num_sites = int(rng.integers(self.max_sites + 1))
    at = self.reach + distance * int(rng.choice((-1, 1)))
    end = at
    for _ in range(num_sites):
      site = _SITES[rng.integers(len(_SITES))]
      _write(piece, end, site)
      end += len(site) + _SPACER
    value = (
      self.promoter_effect * has_tata
      + self.effect * num_sites
      + self.noise * rng.normal()
    )
    strand = int(rng.choice((-1, 1)))
    gene = Gene(
      name=f'gene{number}',
      contig=contig,
      anchor=self.reach,
      strand=strand,
      value=float(value),
      enhancers=((at, end - _SPACER),) if num_sites else (),
      cluster=f'gene{number}',
    )
    if strand > 0:
      return piece, gene
    length = piece.size
    turned = tuple((length - b, length - a) for a, b in gene.enhancers)
    gene = dataclasses.replace(
      gene, anchor=length - 1 - gene.anchor, enhancers=turned
    )
    return central_dogma.reverse_complement(piece), gene


def _write(piece: UInt8[np.ndarray, '_'], at: int, letters: str) -> None:
  codes = [records.BASES.index(letter) for letter in letters]
  piece[at : at + len(codes)] = codes
