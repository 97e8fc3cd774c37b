"""How proteins of labelled data become codons."""

import dataclasses
import functools
import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8

from data_pipelines import central_dogma, records
from data_pipelines.readers import fasta
from data_pipelines.tasks import table

_BASE_OF_CODON = np.array(
  [
    [records.BASES.index(base) for base in codon]
    for codon in central_dogma.CODONS
  ]
)


@dataclasses.dataclass(frozen=True)
class ReverseTranslation:
  """Draws a codon for every residue; no stop is added.

  Attributes:
    usage_from: FASTA of the CDS whose codon usage weighs the synonyms; None
      weighs them alike.
    genetic_code: NCBI table.
    seed: Of the draw, which depends on the protein's letters and on nothing
      before it.
  """

  usage_from: str | None = None
  genetic_code: int = 1
  seed: int = 0

  @functools.cached_property
  def usage(self) -> Float[np.ndarray, '64']:
    """Weight of each codon."""
    if self.usage_from is None:
      return np.ones(64)
    sequences = (
      table.encode_bases(letters, f'{self.usage_from}: {header.split()[0]}')
      for header, letters in fasta.read_letters(Path(self.usage_from))
    )
    return central_dogma.codon_usage(sequences, self.genetic_code)

  def rng(self, letters: str) -> np.random.Generator:
    """The generator of one protein, or of one variant by its name."""
    digest = hashlib.sha256(letters.encode()).digest()[:8]
    return np.random.default_rng([self.seed, int.from_bytes(digest, 'big')])

  def __call__(self, letters: str, where: str) -> UInt8[np.ndarray, 'n']:
    """Bases of a protein; X is NNN."""
    residues = table.encode_residues(letters, where)
    return self.of_residues(residues, self.rng(letters))

  def of_residues(
    self, residues: UInt8[np.ndarray, 'm'], rng: np.random.Generator
  ) -> UInt8[np.ndarray, 'n']:
    """Bases of amino acids, drawn by `rng`."""
    return central_dogma.reverse_translate(
      residues, self.genetic_code, usage=self.usage, rng=rng
    )


def nearest_codons(
  usage: Float[np.ndarray, '64'], genetic_code: int
) -> Int[np.ndarray, '64 residue']:
  """`[codon, residue]`: the residue's codon with the fewest bases changed.

  Ties go to the codon used most, then to the first; -1 where the residue has
  no codon of its own.
  """
  residue_of = central_dogma.genetic_code(genetic_code).amino_acid_of_codon
  changed = (_BASE_OF_CODON[:, None] != _BASE_OF_CODON[None]).sum(-1)
  # Shares are below 1, so usage decides among equal distances alone.
  cost = changed - usage / (usage.sum() + 1)
  nearest = np.full((64, len(records.AMINO_ACIDS)), -1)
  for residue in np.unique(residue_of):
    synonyms = np.flatnonzero(residue_of == residue)
    nearest[:, residue] = synonyms[cost[:, synonyms].argmin(1)]
  return nearest


def bases_of_codon(codon: int) -> UInt8[np.ndarray, '3']:
  """The three bases of a codon id."""
  return _BASE_OF_CODON[codon].astype(np.uint8)
