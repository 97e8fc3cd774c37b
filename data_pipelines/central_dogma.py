"""Transcription, translation and their reverses, vectorised."""

import dataclasses
import functools
import itertools
from collections.abc import Iterable
from typing import Literal

import numpy as np
from Bio.Data import CodonTable, IUPACData
from jaxtyping import Float, Int, UInt8

from data_pipelines.errors import InputError
from data_pipelines.records import AMINO_ACIDS, BASES, N

# Codon ids count in this order: AAA is 0, TTT is 63; a codon with an
# ambiguous base has the id 64.
CODONS = tuple(''.join(c) for c in itertools.product('ACGT', repeat=3))
AMBIGUOUS_CODON = 64

# How a codon is drawn among its synonyms: as the organism uses them, or alike.
CodonPolicy = Literal['usage', 'uniform']

STOP = AMINO_ACIDS.index('*')
METHIONINE = AMINO_ACIDS.index('M')
SELENOCYSTEINE = AMINO_ACIDS.index('U')
PYRROLYSINE = AMINO_ACIDS.index('O')
UNKNOWN = AMINO_ACIDS.index('X')

# Letters of a protein that stand for one of two residues.
AMBIGUOUS_AMINO_ACIDS = {'B': 'ND', 'Z': 'QE', 'J': 'LI'}

_ILLEGAL = 255


class IllegalLetter(InputError):
  """A letter outside the alphabet, with its 0-based position."""

  def __init__(self, letter: str, position: int, expected: str):
    super().__init__(
      f'illegal letter {letter!r} at 0-based position {position}: expected '
      f'{expected}'
    )
    self.letter = letter
    self.position = position


def _letter_table() -> np.ndarray:
  table = np.full(256, _ILLEGAL, np.uint8)
  for letter in IUPACData.ambiguous_dna_letters:
    code = BASES.find(letter)
    code = N if code < 0 else code
    table[ord(letter)] = table[ord(letter.lower())] = code
  for letter in 'Uu':
    table[ord(letter)] = BASES.index('T')
  return table


def _amino_acid_table() -> np.ndarray:
  table = np.full(256, _ILLEGAL, np.uint8)
  for letter in AMBIGUOUS_AMINO_ACIDS:
    table[ord(letter)] = table[ord(letter.lower())] = UNKNOWN
  for index, letter in enumerate(AMINO_ACIDS):
    table[ord(letter)] = table[ord(letter.lower())] = index
  return table


_CODE_OF_LETTER = _letter_table()
_AMINO_ACID_OF_LETTER = _amino_acid_table()
_LETTER_OF_CODE = np.frombuffer(BASES.encode(), np.uint8)
_COMPLEMENT = np.array([3, 2, 1, 0, N], np.uint8)


@dataclasses.dataclass(frozen=True)
class GeneticCode:
  """One NCBI translation table.

  Attributes:
    table: Its NCBI number.
    amino_acid_of_codon: Index into `AMINO_ACIDS` per codon id; the stop where a
      codon can end a protein, unless the table also reads it as a residue.
    starts: True where a codon can begin a protein.
    stops: True where a codon can end one.
  """

  table: int
  amino_acid_of_codon: np.ndarray
  starts: np.ndarray
  stops: np.ndarray


def encode(text: str | bytes) -> UInt8[np.ndarray, 'n']:
  """Bases of IUPAC letters in either case: U reads T, ambiguous letters N."""
  data = text.encode('latin-1', 'replace') if isinstance(text, str) else text
  codes = _CODE_OF_LETTER[np.frombuffer(data, np.uint8)]
  illegal = np.flatnonzero(codes == _ILLEGAL)
  if illegal.size:
    position = int(illegal[0])
    letter = data[position : position + 1].decode('latin-1')
    raise IllegalLetter(
      letter, position, 'A, C, G, T, U or an IUPAC ambiguity letter'
    )
  return codes


def decode(sequence: UInt8[np.ndarray, 'n']) -> str:
  """Letters A C G T N of bases."""
  return _LETTER_OF_CODE[sequence].tobytes().decode()


def reverse_complement(
  sequence: UInt8[np.ndarray, '*lead n'],
) -> UInt8[np.ndarray, '*lead n']:
  """The other strand, 5' to 3', along the last axis."""
  return _COMPLEMENT.take(sequence[..., ::-1])


def transcribe(dna: str) -> str:
  """RNA letters of the sense strand: T becomes U, case kept."""
  return dna.replace('T', 'U').replace('t', 'u')


def reverse_transcribe(rna: str) -> str:
  """DNA letters of the sense strand: U becomes T, so the frame stays."""
  return rna.replace('U', 'T').replace('u', 't')


@functools.cache
def genetic_code(table: int) -> GeneticCode:
  """The NCBI table of that number."""
  if table not in CodonTable.unambiguous_dna_by_id:
    known = ', '.join(map(str, sorted(CodonTable.unambiguous_dna_by_id)))
    raise InputError(f'no NCBI genetic code {table}; there are {known}')
  ncbi = CodonTable.unambiguous_dna_by_id[table]
  letters = ''.join(ncbi.forward_table.get(codon, '*') for codon in CODONS)
  return GeneticCode(
    table=table,
    amino_acid_of_codon=np.array(
      [AMINO_ACIDS.index(letter) for letter in letters], np.uint8
    ),
    starts=np.isin(CODONS, ncbi.start_codons),
    stops=np.isin(CODONS, ncbi.stop_codons),
  )


def codon_ids(sequence: UInt8[np.ndarray, 'n']) -> UInt8[np.ndarray, 'm']:
  """Ids of the whole codons from the first base; a remainder is dropped."""
  codons = sequence[: len(sequence) // 3 * 3].reshape(-1, 3)
  ids = codons @ np.array([16, 4, 1], np.uint8)
  return np.where((codons == N).any(axis=1), np.uint8(AMBIGUOUS_CODON), ids)


def codon_counts(sequence: UInt8[np.ndarray, 'n']) -> Int[np.ndarray, '64']:
  """How often each of the 64 codons occurs; ambiguous ones are not counted."""
  return np.bincount(codon_ids(sequence), minlength=65)[:64]


def codon_usage(
  sequences: Iterable[UInt8[np.ndarray, '_']], table: int
) -> Float[np.ndarray, '64']:
  """Share of each codon among its synonyms in `table`.

  Adds one to every count, so a residue never seen is drawn uniformly and no
  codon has the share nought.
  """
  total = np.zeros(64, np.int64)
  for sequence in sequences:
    total += codon_counts(sequence)
  return usage_of_counts(total, table)


def usage_of_counts(
  counts: Int[np.ndarray, '64'], table: int
) -> Float[np.ndarray, '64']:
  """`codon_usage` of codons that are counted already."""
  return _among_synonyms(counts + 1.0, table)


def translate(
  sequence: UInt8[np.ndarray, 'n'],
  table: int,
  *,
  is_complete_start: bool = False,
  is_complete_end: bool = False,
) -> UInt8[np.ndarray, 'm']:
  """Amino acids of the whole codons, one for each, stops included.

  A codon with an ambiguous base is the residue on which all its readings agree,
  else X. With `is_complete_start` a start codon of the table in first place
  reads M; with `is_complete_end` a codon in last place that can be a stop is
  one (tables 27, 28 and 31 have codons that are both).
  """
  code = genetic_code(table)
  amino_acids = _residue_of_bases(table)[_codon_key(sequence)]
  ids = codon_ids(sequence)
  if not ids.size:
    return amino_acids
  if is_complete_start and ids[0] < AMBIGUOUS_CODON and code.starts[ids[0]]:
    amino_acids[0] = METHIONINE
  if is_complete_end and ids[-1] < AMBIGUOUS_CODON and code.stops[ids[-1]]:
    amino_acids[-1] = STOP
  return amino_acids


def encode_protein(
  text: str, *, rng: np.random.Generator | None = None
) -> UInt8[np.ndarray, 'm']:
  """Amino acids of letters. B, Z and J are drawn by `rng`, or X without one."""
  letters = np.frombuffer(text.encode('latin-1', 'replace'), np.uint8)
  amino_acids = _AMINO_ACID_OF_LETTER[letters]
  for letter, choices in AMBIGUOUS_AMINO_ACIDS.items() if rng else ():
    places = np.isin(letters, [ord(letter), ord(letter.lower())])
    indices = [AMINO_ACIDS.index(c) for c in choices]
    amino_acids[places] = rng.choice(indices, places.sum())
  illegal = np.flatnonzero(amino_acids == _ILLEGAL)
  if illegal.size:
    position = int(illegal[0])
    raise IllegalLetter(text[position], position, 'an amino acid')
  return amino_acids


def decode_protein(amino_acids: UInt8[np.ndarray, 'm']) -> str:
  """Letters of amino acids."""
  return ''.join(AMINO_ACIDS[index] for index in amino_acids)


def reverse_translate(
  amino_acids: UInt8[np.ndarray, 'm'],
  table: int,
  *,
  policy: CodonPolicy = 'usage',
  usage: Float[np.ndarray, '64'] | None = None,
  rng: np.random.Generator,
) -> UInt8[np.ndarray, 'n']:
  """Bases of one codon for each amino acid, drawn among its synonyms.

  `usage` weighs the codons of the organism, in any scale; `uniform` weighs them
  alike. A stop is drawn among the stops of the table; U is TGA, O is TAG and X
  is NNN.
  """
  if policy == 'usage' and usage is None:
    raise InputError("policy 'usage' needs the codon usage of an organism")
  weights = np.ones(64) if policy == 'uniform' else np.asarray(usage, float)
  synonyms = _synonyms(table)
  shares = np.where(synonyms, weights, 0)
  is_unseen = shares.sum(axis=1) == 0
  shares[is_unseen] = synonyms[is_unseen]
  bounds = shares.cumsum(axis=1)
  total = bounds[amino_acids, -1]
  draws = np.minimum(rng.random(len(total)) * total, np.nextafter(total, 0))
  ids = (bounds[amino_acids] <= draws[:, None]).sum(axis=1)
  codons = ids[:, None] // np.array([16, 4, 1]) % 4
  return np.where(total[:, None] > 0, codons, N).astype(np.uint8).reshape(-1)


def _among_synonyms(
  weights: Float[np.ndarray, '64'], table: int
) -> Float[np.ndarray, '64']:
  of_codon = genetic_code(table).amino_acid_of_codon
  totals = np.bincount(of_codon, weights, minlength=len(AMINO_ACIDS))
  return weights / totals[of_codon]


@functools.cache
def _synonyms(table: int) -> np.ndarray:
  """`[amino acid, codon]`: True where the codon can be written for it."""
  code = genetic_code(table)
  synonyms = (
    np.arange(len(AMINO_ACIDS))[:, None] == code.amino_acid_of_codon[None]
  )
  synonyms[STOP] = code.stops
  if (code.stops & (code.amino_acid_of_codon == STOP)).any():
    synonyms[STOP] &= code.amino_acid_of_codon == STOP
  synonyms[SELENOCYSTEINE, CODONS.index('TGA')] = True
  synonyms[PYRROLYSINE, CODONS.index('TAG')] = True
  return synonyms


def _codon_key(sequence: UInt8[np.ndarray, 'n']) -> Int[np.ndarray, 'm']:
  codons = sequence[: len(sequence) // 3 * 3].reshape(-1, 3)
  return codons.astype(np.int64) @ np.array([25, 5, 1])


@functools.cache
def _residue_of_bases(table: int) -> np.ndarray:
  """Residue per triple of the five bases, A C G T N counting in base five."""
  of_codon = genetic_code(table).amino_acid_of_codon.reshape(4, 4, 4)
  choices = [(base,) for base in range(4)] + [tuple(range(4))]
  residues = []
  for triple in itertools.product(choices, repeat=3):
    found = np.unique(of_codon[np.ix_(*triple)])
    residues.append(found[0] if len(found) == 1 else UNKNOWN)
  return np.array(residues, np.uint8)
