"""The record: nucleotides, whatever the molecule was.

DNA is stored as read, RNA as the sense strand with U written as T, protein as
codons. Every array is per base unless said otherwise.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, UInt8

BASES = 'ACGTN'
A, C, G, T, N = range(5)
# Fills a packed row behind its last segment; never inside a record.
PAD = 5

KINDS = ('genome', 'cds', 'rna', 'protein')
GENOME, CDS, RNA, PROTEIN = range(4)

# Codon phase of a base: position in its codon, or none (non-coding, unknown).
PHASE_NONE = 3

# Index of an amino acid in `Record.amino_acids`: 20 residues in alphabetical
# order, stop, selenocysteine, pyrrolysine, unknown.
AMINO_ACIDS = 'ACDEFGHIKLMNPQRSTVWY*UOX'
# In a track of residues: the base is in no codon that is known to be read.
NO_RESIDUE = len(AMINO_ACIDS)

SPLITS = ('train', 'validation', 'test')


@dataclasses.dataclass(frozen=True)
class Record:
  """One molecule or window, as stored in a shard.

  Attributes:
    name: Unique within a data set, e.g. `NC_000913.3:0-6144`.
    sequence: A C G T N = 0..4, length `n`, 5' to 3' on the sense strand.
    soft_mask: True where the source wrote a lower-case letter (a repeat).
    kind: Index into `KINDS`.
    codon_phase: 0, 1, 2, or 3 (`PHASE_NONE`).
    genetic_code: NCBI translation table.
    amino_acids: Index into `AMINO_ACIDS`, one per codon including the stop;
      empty where unknown.
    codon_is_sampled: True if the codons were drawn by reverse translation.
    source: Name of the data set (organism) the record came from.
    contig: Name of the contig, '' for a protein or transcript without one.
    start: 0-based first base on the contig.
    end: Half-open end on the contig.
    strand: 1, -1, or 0 where it does not apply.
  """

  name: str
  sequence: UInt8[np.ndarray, 'n']
  soft_mask: Bool[np.ndarray, 'n']
  kind: int
  codon_phase: UInt8[np.ndarray, 'n']
  genetic_code: int
  amino_acids: UInt8[np.ndarray, 'm']
  codon_is_sampled: bool
  source: str
  contig: str
  start: int
  end: int
  strand: int
