"""The organism as data: sequences beside the labels known exactly."""

import dataclasses

import numpy as np
from jaxtyping import Float, Int, Int8, UInt8

from data_pipelines import central_dogma, records

REGIONS = (
  'spacer',
  'promoter',
  'five_prime_UTR',
  'CDS',
  'intron',
  'three_prime_UTR',
  'enhancer',
  'ncRNA',
)
(SPACER, PROMOTER, FIVE_PRIME, CODING, INTRON, THREE_PRIME, ENHANCER, NCRNA) = (
  range(len(REGIONS))
)


@dataclasses.dataclass(frozen=True)
class Gene:
  """One transcript; positions are forward-strand and 0-based.

  Attributes:
    name: Unique in the organism.
    strand: 1 or -1.
    tss: First transcribed base.
    start: Lowest base of the transcript.
    end: Half-open highest base of the transcript.
    coding_exons: (start, end) rows in transcript order; none in a ncRNA.
    residues: Protein with its stop; empty in a ncRNA.
    family: Protein family, -1 in a ncRNA.
    promoter_strength: Sum of the weights of the promoter's sites.
    enhancer_strength: The same of the gene's distal enhancer, 0 without one.
    adaptation: How sharply codons follow the organism's usage, in [0, 1].
    expression: Measured log expression: a weighted sum of the three, and noise.
  """

  name: str
  strand: int
  tss: int
  start: int
  end: int
  coding_exons: tuple[tuple[int, int], ...] = ()
  residues: UInt8[np.ndarray, 'm'] = dataclasses.field(
    default_factory=lambda: np.zeros(0, np.uint8)
  )
  family: int = -1
  promoter_strength: float = 0.0
  enhancer_strength: float = 0.0
  adaptation: float = 0.0
  expression: float = 0.0


@dataclasses.dataclass(frozen=True)
class Chromosome:
  """A chromosome with per-base and per-site labels, all in forward positions.

  Attributes:
    name: Unique in the organism.
    split: Which of train, validation and test it belongs to.
    sequence: The forward strand.
    region: Index into `REGIONS`.
    codon_phase: Position in the codon on the gene's own strand, or none.
    strand: 1, -1, or 0 in a spacer or enhancer.
    donors: First intron base (the G of GT on the sense strand) and strand.
    acceptors: Last intron base (the G of AG on the sense strand) and strand.
    genes: In order of position.
  """

  name: str
  split: str
  sequence: UInt8[np.ndarray, 'n']
  region: UInt8[np.ndarray, 'n']
  codon_phase: UInt8[np.ndarray, 'n']
  strand: Int8[np.ndarray, 'n']
  donors: Int[np.ndarray, 'd 2']
  acceptors: Int[np.ndarray, 'a 2']
  genes: tuple[Gene, ...]

  def sense(
    self, start: int, end: int, strand: int
  ) -> UInt8[np.ndarray, 'length']:
    """Bases [start, end), read on a strand."""
    part = self.sequence[start:end]
    return part if strand >= 0 else central_dogma.reverse_complement(part)

  def window(
    self, position: int, strand: int, before: int, after: int
  ) -> UInt8[np.ndarray, 'length']:
    """`before` bases upstream of a position, itself, and after - 1 more."""
    if strand >= 0:
      return self.sense(position - before, position + after, 1)
    return self.sense(position - after + 1, position + before + 1, -1)

  def coding_sequence(self, gene: Gene) -> UInt8[np.ndarray, 'n']:
    """The spliced CDS with its stop."""
    return np.concatenate(
      [self.sense(*exon, gene.strand) for exon in gene.coding_exons]
    )


@dataclasses.dataclass(frozen=True)
class Organism:
  """Chromosomes, proteins without a known CDS, and what they were made with.

  Attributes:
    chromosomes: In order of name.
    proteins: Residues without a stop, by split; family members whose genes
      are on no chromosome.
    codon_usage: Share of each codon.
    shared_families: Families that every split draws its genes from.
  """

  chromosomes: tuple[Chromosome, ...]
  proteins: dict[str, list[np.ndarray]]
  codon_usage: Float[np.ndarray, '64']
  shared_families: frozenset[int]

  def of_split(self, split: str) -> list[Chromosome]:
    return [c for c in self.chromosomes if c.split == split]

  def shared_gene_share(self, split: str) -> float:
    """The share of a split's coding genes that are of a shared family."""
    families = [
      gene.family
      for chromosome in self.of_split(split)
      for gene in chromosome.genes
      if gene.family >= 0
    ]
    return float(np.mean([f in self.shared_families for f in families]))

  def fasta(self) -> str:
    """All chromosomes as FASTA."""
    letters = np.frombuffer(records.BASES.encode(), np.uint8)
    lines = []
    for chromosome in self.chromosomes:
      text = letters[chromosome.sequence].tobytes().decode()
      lines.append(f'>{chromosome.name}')
      lines += [text[at : at + 80] for at in range(0, len(text), 80)]
    return '\n'.join(lines) + '\n'

  def gff(self) -> str:
    """Genes, transcripts and coding exons as GFF3."""
    lines = ['##gff-version 3']
    for chromosome in self.chromosomes:
      lines += [
        line for gene in chromosome.genes for line in _gff(chromosome, gene)
      ]
    return '\n'.join(lines) + '\n'


def _gff(chromosome: Chromosome, gene: Gene) -> list[str]:
  def row(kind: str, start: int, end: int, phase: str, attributes: str) -> str:
    strand = '+' if gene.strand > 0 else '-'
    columns = (chromosome.name, 'organism', kind, start + 1, end, '.', strand)
    return '\t'.join(map(str, (*columns, phase, attributes)))

  name, transcript = gene.name, f'{gene.name}.t'
  is_coding = bool(gene.coding_exons)
  lines = [
    row('gene', gene.start, gene.end, '.', f'ID={name}'),
    row(
      'mRNA' if is_coding else 'ncRNA',
      gene.start,
      gene.end,
      '.',
      f'ID={transcript};Parent={name}',
    ),
  ]
  done = 0
  for start, end in gene.coding_exons:
    attributes = f'ID={name}.cds;Parent={transcript}'
    lines.append(row('CDS', start, end, str(-done % 3), attributes))
    done += end - start
  if not is_coding:
    attributes = f'ID={name}.exon;Parent={transcript}'
    lines.append(row('exon', gene.start, gene.end, '.', attributes))
  return lines
