"""FASTA of nucleotides and of proteins."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from Bio.SeqIO.FastaIO import SimpleFastaParser
from jaxtyping import Bool, UInt8

from data_pipelines import central_dogma
from data_pipelines.errors import InputError
from data_pipelines.readers.compressed import open_text


@dataclasses.dataclass(frozen=True)
class Contig:
  """A sequence of the genome, with the case its letters had.

  Attributes:
    name: First word of its header.
    sequence: A C G T N = 0..4.
    soft_mask: True where the letter was lower case.
  """

  name: str
  sequence: UInt8[np.ndarray, 'n']
  soft_mask: Bool[np.ndarray, 'n']


def read_letters(path: Path) -> Iterator[tuple[str, str]]:
  """Yields (header, letters) of each record; names must be unique."""
  names = set()
  with open_text(path) as text:
    for header, letters in SimpleFastaParser(text):
      name = header.split()[0] if header.split() else ''
      if not name:
        raise InputError(f'{path}: record {len(names) + 1} has no name')
      if name in names:
        raise InputError(
          f'{path}: two records are named {name!r}; rename or remove one'
        )
      if not letters:
        raise InputError(f'{path}: record {name!r} has no sequence')
      names.add(name)
      yield header, letters
  if not names:
    raise InputError(f'{path}: no FASTA record in it (none starts with ">")')


def read_contigs(path: Path) -> Iterator[Contig]:
  """Contigs of a nucleotide FASTA, one at a time."""
  for header, letters in read_letters(path):
    yield encode_contig(path, header.split()[0], letters)


def read_genome(path: Path) -> dict[str, Contig]:
  """Contigs of a nucleotide FASTA, by name."""
  return {contig.name: contig for contig in read_contigs(path)}


def encode_contig(path: Path, name: str, letters: str) -> Contig:
  """A contig of letters; an illegal one is named with its 1-based position."""
  data = letters.encode('latin-1')
  try:
    sequence = central_dogma.encode(data)
  except central_dogma.IllegalLetter as error:
    raise InputError(
      f'{path}: record {name!r}, position {error.position + 1}: illegal letter '
      f'{error.letter!r}; expected A C G T U N or an IUPAC ambiguity letter'
    ) from error
  # ASCII lower case has bit 5 set.
  soft_mask = (np.frombuffer(data, np.uint8) & 32).astype(bool)
  return Contig(name, sequence, soft_mask)


def read_proteins(path: Path) -> dict[str, str]:
  """Letters of each protein, by header; a final stop is dropped."""
  proteins = {}
  for header, letters in read_letters(path):
    letters = letters.upper().rstrip('*')
    try:
      central_dogma.encode_protein(letters)
    except central_dogma.IllegalLetter as error:
      raise InputError(
        f'{path}: record {header.split()[0]!r}, position {error.position + 1}: '
        f'illegal letter {error.letter!r}; expected an amino acid'
      ) from error
    proteins[header] = letters
  return proteins
