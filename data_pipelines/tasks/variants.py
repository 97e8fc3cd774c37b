"""Variants of a protein as codons: only what is mutated changes."""

import dataclasses
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from data_pipelines import central_dogma
from data_pipelines.errors import InputError
from data_pipelines.readers import fasta
from data_pipelines.tasks import codons, table
from data_pipelines.tasks.codons import ReverseTranslation


@dataclasses.dataclass(frozen=True)
class Coding:
  """How the wild type and its mutations become codons.

  Attributes:
    wild_type_cds: FASTA of the real CDS, alone in it and without a stop, equal
      in residues to the wild type; None draws codons for the wild type.
    mutant_codon: 'minimum_edit' takes the mutant residue's codon nearest to
      the wild type's, ties by usage; 'sampled' draws it from the usage.
    codons: Usage, genetic code and seed of what is drawn.
  """

  wild_type_cds: str | None = None
  mutant_codon: str = 'minimum_edit'
  codons: ReverseTranslation = dataclasses.field(
    default_factory=ReverseTranslation
  )

  def __post_init__(self):
    if self.mutant_codon not in ('minimum_edit', 'sampled'):
      raise InputError(
        f'mutant_codon {self.mutant_codon!r}: choose minimum_edit or sampled'
      )

  def wild_type(self, letters: str, where: str) -> UInt8[np.ndarray, 'n']:
    """Bases of the wild type with the residues `letters`."""
    if self.wild_type_cds is None:
      return self.codons(letters, where)
    header, bases = only_record(self.wild_type_cds)
    where = f'{self.wild_type_cds}: record {header.split()[0]!r}'
    sequence = table.encode_bases(bases, where)
    residues = central_dogma.translate(sequence, self.codons.genetic_code)
    read = central_dogma.decode_protein(residues)
    if sequence.size % 3 or read != letters:
      raise InputError(
        f'{where}: reads {read[:20]}…, not the wild type {letters[:20]}… of '
        f'{len(letters)} residues; give the CDS of that protein without a stop'
      )
    return sequence


def only_record(path: str) -> tuple[str, str]:
  """Header and letters of the one record of a FASTA file."""
  found = list(fasta.read_letters(Path(path)))
  if len(found) > 1:
    raise InputError(
      f'{path}: {len(found)} records; leave the wild type alone in it'
    )
  return found[0]


class VariantWriter:
  """Writes variants of one wild type."""

  def __init__(self, coding: Coding, letters: str, where: str):
    self.letters = letters
    self._coding = coding
    self._bases = coding.wild_type(letters, where)
    self._ids = central_dogma.codon_ids(self._bases)
    self._written: dict[tuple[int, str], np.ndarray] = {}
    self._nearest = codons.nearest_codons(
      coding.codons.usage, coding.codons.genetic_code
    )

  def write(
    self, mutations: dict[int, str], where: str
  ) -> UInt8[np.ndarray, 'n']:
    """Bases with the residue of each 0-based position exchanged."""
    bases = self._bases.copy()
    is_sampled = self._coding.mutant_codon == 'sampled'
    rng = self._coding.codons.rng(str(mutations)) if is_sampled else None
    for position, letter in mutations.items():
      # The nearest codon of a mutation is the same in every variant.
      codon = None if is_sampled else self._written.get((position, letter))
      if codon is None:
        codon = self._codon(position, letter, rng, where)
        self._written[position, letter] = codon
      bases[3 * position : 3 * position + 3] = codon
    return bases

  def _codon(
    self,
    position: int,
    letter: str,
    rng: np.random.Generator | None,
    where: str,
  ) -> UInt8[np.ndarray, '3']:
    """The codon of a mutation, nearest to the wild type's or drawn by `rng`."""
    residue = table.encode_residues(letter, where)
    nearest = int(self._nearest[self._ids[position], residue[0]])
    if nearest < 0:
      raise InputError(
        f'{where}: residue {letter!r} at 0-based position {position} has no '
        'codon of its own; remove the variant'
      )
    if rng is None:
      return codons.bases_of_codon(nearest)
    return self._coding.codons.of_residues(residue, rng)
