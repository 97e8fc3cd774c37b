"""Simulated genes whose expression is made by enhancers far away.

What a model of long sequence must find, with the answer known: each gene has a
promoter of some strength and one cluster of binding sites at a distance of
kilobases, on either side, among clusters of another site that do nothing.
"""

import dataclasses

import numpy as np
from jaxtyping import UInt8

from data_pipelines import central_dogma, records
from data_pipelines.errors import InputError
from data_pipelines.genes.gene import Gene, GeneSet, Span

# As data_pipelines.organism has them.
_SITES = ('ACCGGAAGTG', 'AGATAAGGCA')
_DECOY = 'CATTGCATCA'
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
    num_decoys: Clusters of 1 to that many sites of a factor that does nothing
      to the gene, at the distances of enhancers.
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
  num_decoys: int = 3
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
    # Twice the bases, so that places are found by drawing them.
    needed = 2 * size * (self.num_decoys + 1)
    if needed > self.farthest - self.nearest:
      raise InputError(
        f'num_decoys {self.num_decoys}: {needed:,} bases between nearest and '
        f'farthest are needed, there are {self.farthest - self.nearest:,}'
      )

  def __call__(self) -> GeneSet:
    rng = np.random.default_rng(self.seed)
    pieces: dict[str, list[np.ndarray]] = {}
    tracks: dict[str, list[np.ndarray]] = {}
    genes = []
    for number in range(self.num_genes):
      contig = f'contig{number % self.num_contigs}'
      before = pieces.setdefault(contig, [])
      piece, bound, gene = self._gene(rng, number, contig)
      start = 2 * self.reach * len(before)
      before.append(piece)
      tracks.setdefault(contig, []).append(bound)
      genes.append(
        dataclasses.replace(
          gene,
          anchor=gene.anchor + start,
          enhancers=_moved(gene.enhancers, start),
          decoys=_moved(gene.decoys, start),
        )
      )
    contigs, bound = (
      {name: np.concatenate(parts) for name, parts in of.items()}
      for of in (pieces, tracks)
    )
    return GeneSet(contigs, genes, bound=bound)

  def _gene(
    self, rng: np.random.Generator, number: int, contig: str
  ) -> tuple[UInt8[np.ndarray, 'n'], UInt8[np.ndarray, 'n'], Gene]:
    """A piece of contig, where it is bound, and the gene on it."""
    piece = rng.integers(0, 4, 2 * self.reach).astype(np.uint8)
    bound = np.zeros_like(piece)
    has_tata = bool(rng.integers(2))
    if has_tata:
      _write(piece, self.reach + _TATA_AT, _TATA)
    num_sites = int(rng.integers(self.max_sites + 1))
    sites = [_SITES[i] for i in rng.integers(len(_SITES), size=num_sites)]
    enhancer = self._plant(rng, piece, bound, sites)
    decoys = [
      self._plant(rng, piece, bound, [_DECOY] * number_of_sites)
      for number_of_sites in rng.integers(
        1, self.max_sites + 1, self.num_decoys
      ).tolist()
    ]
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
      enhancers=(enhancer,) if num_sites else (),
      decoys=tuple(decoys),
      cluster=f'gene{number}',
    )
    if strand > 0:
      return piece, bound, gene
    length = piece.size
    gene = dataclasses.replace(
      gene,
      anchor=length - 1 - gene.anchor,
      enhancers=_turned(gene.enhancers, length),
      decoys=_turned(gene.decoys, length),
    )
    return central_dogma.reverse_complement(piece), bound[::-1], gene

  def _plant(
    self,
    rng: np.random.Generator,
    piece: UInt8[np.ndarray, 'n'],
    bound: UInt8[np.ndarray, 'n'],
    sites: list[str],
  ) -> Span:
    """Sites one behind another, where nothing is bound; where they are."""
    size = sum(len(site) + _SPACER for site in sites)
    ends = np.log([self.nearest, self.farthest])
    while True:
      distance = int(np.exp(rng.uniform(*ends)))
      first = self.reach + distance * int(rng.choice((-1, 1)))
      if not bound[max(first - _SPACER, 0) : first + size].any():
        break
    at = first
    for site in sites:
      _write(piece, at, site)
      bound[at : at + len(site)] = 1
      at += len(site) + _SPACER
    return first, at - _SPACER


def _moved(spans: tuple[Span, ...], by: int) -> tuple[Span, ...]:
  return tuple((start + by, end + by) for start, end in spans)


def _turned(spans: tuple[Span, ...], length: int) -> tuple[Span, ...]:
  return tuple((length - end, length - start) for start, end in spans)


def _write(piece: UInt8[np.ndarray, '_'], at: int, letters: str) -> None:
  codes = [records.BASES.index(letter) for letter in letters]
  piece[at : at + len(codes)] = codes
