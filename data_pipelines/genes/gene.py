"""A gene on a genome, and a set of them."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import UInt8

from data_pipelines import central_dogma, records
from data_pipelines.errors import InputError

Span = tuple[int, int]

_UNKNOWN = records.BASES.index('N')


@dataclasses.dataclass(frozen=True)
class Gene:
  """Where a gene is, and what is known of it.

  Attributes:
    name: Of the gene.
    contig: Name of its contig.
    anchor: 0-based base that windows are around: the first transcribed, or
      the first of the start codon where transcripts are not known.
    strand: 1 or -1.
    value: What was measured.
    text: What people wrote about it; '' if nothing.
    coding: Parts of its CDS on the contig, 5' to 3' of the gene; () if it has
      none.
    enhancers: Parts of the contig that are known to act on it.
    decoys: Parts near it that are bound alike and do not.
    cluster: Name of the cluster of similar genes that it is in; its own where
      it is alone.
  """

  name: str
  contig: str
  anchor: int
  strand: int
  value: float
  text: str = ''
  coding: tuple[Span, ...] = ()
  enhancers: tuple[Span, ...] = ()
  decoys: tuple[Span, ...] = ()
  cluster: str = ''


@dataclasses.dataclass(frozen=True)
class GeneSet:
  """Genes of a genome.

  Attributes:
    contigs: Bases A C G T N = 0..4 of each.
    genes: In the order of the source.
    genetic_code: NCBI table.
    notes: What of the source is not in here, counted: one line each.
    bound: Of each base of each contig, 1 where a factor is bound, as tracks of
      chromatin tell; {} where nobody has looked.
  """

  contigs: Mapping[str, UInt8[np.ndarray, '_']]
  genes: Sequence[Gene]
  genetic_code: int = 1
  notes: tuple[str, ...] = ()
  bound: Mapping[str, UInt8[np.ndarray, '_']] = dataclasses.field(
    default_factory=dict
  )

  def __post_init__(self):
    for gene in self.genes:
      length = self.contigs[gene.contig].size
      if not 0 <= gene.anchor < length:
        raise InputError(
          f'{gene.name}: starts at base {gene.anchor + 1:,} of {gene.contig}, '
          f'which has {length:,}; is the table of another genome build?'
        )

  def coding_sequence(self, gene: Gene) -> UInt8[np.ndarray, '_']:
    """The CDS, start codon first; empty if there is none."""
    contig = self.contigs[gene.contig]
    parts = [contig[start:end] for start, end in gene.coding]
    if gene.strand < 0:
      parts = [central_dogma.reverse_complement(part) for part in parts]
    return np.concatenate([np.zeros(0, np.uint8), *parts])


@dataclasses.dataclass(frozen=True)
class Window:
  """Bases around the anchor of a gene, 5' to 3' of the gene.

  Attributes:
    sequence: A C G T N = 0..4, N outside the contig.
    is_inside: False outside the contig.
    codon_phase: Of the gene's own CDS, `records.PHASE_NONE` elsewhere.
    bound: See `GeneSet`, 0 outside the contig; None where it is not known.
  """

  sequence: UInt8[np.ndarray, 'n']
  is_inside: np.ndarray
  codon_phase: UInt8[np.ndarray, 'n']
  bound: UInt8[np.ndarray, 'n'] | None = None


def cut(genes: GeneSet, gene: Gene, before: int, after: int) -> Window:
  """`before` bases upstream of the anchor, and `after` from it on."""
  contig = genes.contigs[gene.contig]
  first = gene.anchor - (before if gene.strand > 0 else after - 1)
  length = before + after
  inside = slice(max(first, 0), min(first + length, contig.size))
  sequence = np.full(length, _UNKNOWN, np.uint8)
  phase = np.full(length, records.PHASE_NONE, np.uint8)
  is_inside = np.zeros(length, bool)
  bound = np.zeros(length, np.uint8) if genes.bound else None
  at = slice(inside.start - first, inside.stop - first)
  sequence[at], is_inside[at] = contig[inside], True
  if bound is not None:
    bound[at] = genes.bound[gene.contig][inside]
  read = 0
  for start, end in gene.coding:
    here = (read + np.arange(end - start)) % 3
    here = here[:: gene.strand].astype(np.uint8)
    low, high = max(start, first), min(end, first + length)
    if low < high:
      phase[low - first : high - first] = here[low - start : high - start]
    read += end - start
  if gene.strand < 0:
    sequence = central_dogma.reverse_complement(sequence)
    is_inside, phase = is_inside[::-1], phase[::-1]
    bound = None if bound is None else bound[::-1]
  return Window(sequence, is_inside, np.ascontiguousarray(phase), bound)
