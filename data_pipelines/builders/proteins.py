"""Proteins of a file: found for their CDS, or written back as codons."""

import copy
import hashlib
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from jaxtyping import UInt8

from data_pipelines import central_dogma
from data_pipelines.records import PROTEIN, Record


class ProteinIndex:
  """Proteins by any name their header gives: the first word or a part of it."""

  def __init__(self, proteins: Mapping[str, str]):
    self._letters = dict(proteins)
    self._header_of: dict[str, str | None] = {}
    self._used: set[str] = set()
    for header in proteins:
      name = header.split()[0]
      for alias in dict.fromkeys([name, *name.split('|')]):
        # A gene with several proteins does not tell which one is meant.
        is_shared = alias and alias in self._header_of and alias != name
        self._header_of[alias] = None if is_shared else header

  def __bool__(self) -> bool:
    return bool(self._letters)

  @property
  def used(self) -> frozenset[str]:
    """Headers of the proteins that were found."""
    return frozenset(self._used)

  def anew(self) -> 'ProteinIndex':
    """The same proteins, none of them used."""
    made = copy.copy(self)
    made._used = set()
    return made

  def use(self, headers: Iterable[str]) -> None:
    """Marks proteins that were found elsewhere."""
    self._used.update(headers)

  def find(self, aliases: Iterable[str]) -> str | None:
    """Letters of the protein with the first alias known; marks it as used."""
    for alias in aliases:
      header = self._header_of.get(alias)
      if header is not None:
        self._used.add(header)
        return self._letters[header]
    return None

  def unused(self) -> Iterator[tuple[str, str]]:
    """Name and letters of the proteins that no CDS asked for."""
    for header, letters in self._letters.items():
      if header not in self._used:
        yield header.split()[0], letters


def digest(amino_acids: UInt8[np.ndarray, 'm']) -> str:
  """Of a protein, whether or not its stop is there."""
  has_stop = len(amino_acids) and amino_acids[-1] == central_dogma.STOP
  letters = amino_acids[: len(amino_acids) - has_stop]
  return hashlib.sha256(letters.tobytes()).hexdigest()


def reverse_translated(
  name: str,
  letters: str,
  *,
  table: int,
  usage: np.ndarray,
  source: str,
  seed: int,
) -> Record:
  """A protein without a CDS: codons drawn from `usage`, a stop last.

  The draw depends on the protein and the seed, not on the proteins before it.
  """
  digest = hashlib.sha256(name.encode()).digest()[:8]
  rng = np.random.default_rng([seed, int.from_bytes(digest, 'big')])
  letters += '*'
  sequence = central_dogma.reverse_translate(
    central_dogma.encode_protein(letters, rng=rng), table, usage=usage, rng=rng
  )
  return Record(
    name=f'protein-{name}',
    sequence=sequence,
    soft_mask=np.zeros(len(sequence), np.bool_),
    kind=PROTEIN,
    codon_phase=np.resize(np.arange(3, dtype=np.uint8), len(sequence)),
    genetic_code=table,
    amino_acids=central_dogma.encode_protein(letters),
    codon_is_sampled=True,
    source=source,
    contig='',
    start=0,
    end=len(sequence),
    strand=0,
  )
