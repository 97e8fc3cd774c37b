"""From annotated molecules to records: spliced, translated and compared."""

import dataclasses
import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, UInt8

from data_pipelines import central_dogma
from data_pipelines.builders.manifest import Reject
from data_pipelines.readers.annotation import Molecule
from data_pipelines.readers.fasta import Contig
from data_pipelines.records import AMINO_ACIDS, CDS, PHASE_NONE, RNA, Record

# How a CDS compared with its protein.
EQUAL = 'equal'
EQUAL_WITH_EXCEPTIONS = 'equal_with_translation_exceptions'
NO_PROTEIN = 'no_protein'


# A shorter gap between the parts of a CDS is a programmed frameshift.
_MIN_INTRON_BASES = 20


class Coding(NamedTuple):
  """A CDS that passed, and how."""

  record: Record
  agreement: str
  is_complete: bool


class _Spliced(NamedTuple):
  sequence: UInt8[np.ndarray, 'n']
  soft_mask: Bool[np.ndarray, 'n']
  positions: Int[np.ndarray, 'n']


def coding(
  molecule: Molecule,
  contig: Contig,
  *,
  table: int,
  protein: str | None,
  source: str,
) -> Coding | Reject:
  """The record of a CDS, if it can be read and equals its protein."""
  spliced = _splice(molecule, contig)
  if isinstance(spliced, Reject):
    return spliced
  begin = molecule.phase
  length = len(spliced.sequence) - begin
  if molecule.is_partial:
    length -= length % 3
  if length % 3 or not length:
    return _reject(molecule, 'not_multiple_of_3', f'{length} bases')
  spliced = _Spliced(*(track[begin : begin + length] for track in spliced))
  read = _read(molecule, spliced, table, protein)
  if isinstance(read, Reject):
    return read
  amino_acids, agreement = read
  code = central_dogma.genetic_code(table)
  first = central_dogma.codon_ids(spliced.sequence[:3])[0]
  has_start = first < central_dogma.AMBIGUOUS_CODON and code.starts[first]
  record = _record(molecule, spliced, CDS, table, source)
  record = dataclasses.replace(
    record,
    codon_phase=np.resize(np.arange(3, dtype=np.uint8), length),
    amino_acids=amino_acids,
  )
  has_stop = amino_acids[-1] == central_dogma.STOP
  return Coding(record, agreement, bool(has_start and has_stop and not begin))


def transcript(
  molecule: Molecule,
  contig: Contig,
  *,
  table: int,
  source: str,
  cds: Molecule | None,
) -> Record | Reject | None:
  """The record of an RNA, with the codons of its `cds` marked.

  None for an mRNA that is no more than its CDS, which has a record already.
  """
  if 'circular' in molecule.type:
    return _reject(molecule, 'circular', molecule.type)
  spliced = _splice(molecule, contig)
  if isinstance(spliced, Reject):
    return spliced
  record = _record(molecule, spliced, RNA, table, source)
  if cds is None:
    return record
  if set(cds.parts) == set(molecule.parts):
    return None
  positions = _positions(cds)
  found = np.flatnonzero(spliced.positions == positions[0])
  begin = int(found[0]) if found.size else 0
  covered = spliced.positions[begin : begin + len(positions)]
  if not np.array_equal(covered, positions):
    return _reject(molecule, 'cds_outside_exons', cds.name)
  begin += cds.phase
  num_bases = (len(positions) - cds.phase) // 3 * 3
  phase = record.codon_phase.copy()
  phase[begin : begin + num_bases] = np.arange(num_bases) % 3
  return dataclasses.replace(record, codon_phase=phase)


def count_introns(molecule: Molecule, contig: Contig) -> dict[str, int]:
  """How many introns a CDS has, and how many run from GT to AG."""
  parts = sorted(molecule.parts)
  ends = ('GT', 'AG') if molecule.strand > 0 else ('CT', 'AC')
  counts = {'coding_introns': 0, 'coding_introns_gt_ag': 0}
  for (_, start), (end, _) in itertools.pairwise(parts):
    if end - start > _MIN_INTRON_BASES:
      counts['coding_introns'] += 1
      sequence = contig.sequence
      found = sequence[start : start + 2], sequence[end - 2 : end]
      is_canonical = tuple(map(central_dogma.decode, found)) == ends
      counts['coding_introns_gt_ag'] += is_canonical
  return counts


def _read(
  molecule: Molecule, spliced: _Spliced, table: int, protein: str | None
) -> tuple[UInt8[np.ndarray, 'm'], str] | Reject:
  """Amino acids and how they agree with the protein."""
  plain = central_dogma.translate(
    spliced.sequence,
    table,
    is_complete_start=not molecule.phase,
    is_complete_end=True,
  )
  excepted = _with_exceptions(molecule, spliced, plain)
  if protein is None:
    if (excepted[:-1] == central_dogma.STOP).any():
      return _reject(molecule, 'internal_stop', _stops(excepted))
    return excepted, NO_PROTEIN
  expected = central_dogma.encode_protein(protein)
  for amino_acids, agreement in (
    (plain, EQUAL),
    (excepted, EQUAL_WITH_EXCEPTIONS),
  ):
    if np.array_equal(_without_stop(amino_acids), expected):
      return amino_acids, agreement
  if (excepted[:-1] == central_dogma.STOP).any():
    return _reject(molecule, 'internal_stop', _stops(excepted))
  return _reject(
    molecule, 'protein_mismatch', _difference(_without_stop(excepted), expected)
  )


def _splice(molecule: Molecule, contig: Contig) -> _Spliced | Reject:
  if molecule.is_pseudo:
    return _reject(molecule, 'pseudo', molecule.type)
  if not molecule.strand:
    return _reject(molecule, 'strand_missing_or_mixed')
  end = max(end for _, end in molecule.parts)
  if end > len(contig.sequence):
    detail = f'ends at {end}, {contig.name} at {len(contig.sequence)}'
    return _reject(molecule, 'past_contig_end', detail)
  positions = _positions(molecule)
  sequence = contig.sequence[positions]
  if molecule.strand < 0:
    sequence = central_dogma.reverse_complement(sequence)[::-1]
  return _Spliced(sequence, contig.soft_mask[positions], positions)


def _positions(molecule: Molecule) -> Int[np.ndarray, 'n']:
  """Position on the contig of each base of the molecule, 5' to 3'."""
  parts = [np.arange(start, end) for start, end in molecule.parts]
  if molecule.strand < 0:
    parts = [part[::-1] for part in parts]
  return np.concatenate(parts)


def _with_exceptions(
  molecule: Molecule, spliced: _Spliced, amino_acids: UInt8[np.ndarray, 'm']
) -> UInt8[np.ndarray, 'm']:
  amino_acids = amino_acids.copy()
  for (start, end), letter in molecule.exceptions:
    first = start if molecule.strand > 0 else end - 1
    for base in np.flatnonzero(spliced.positions == first):
      amino_acids[base // 3] = AMINO_ACIDS.index(letter)
  return amino_acids


def _record(
  molecule: Molecule, spliced: _Spliced, kind: int, table: int, source: str
) -> Record:
  return Record(
    name=molecule.name,
    sequence=spliced.sequence,
    soft_mask=spliced.soft_mask,
    kind=kind,
    codon_phase=np.full(len(spliced.sequence), PHASE_NONE, np.uint8),
    genetic_code=table,
    amino_acids=np.zeros(0, np.uint8),
    codon_is_sampled=False,
    source=source,
    contig=molecule.contig,
    start=min(start for start, _ in molecule.parts),
    end=max(end for _, end in molecule.parts),
    strand=molecule.strand,
  )


def _without_stop(amino_acids: UInt8[np.ndarray, '_']) -> np.ndarray:
  is_stopped = amino_acids[-1] == central_dogma.STOP
  return amino_acids[:-1] if is_stopped else amino_acids


def _stops(amino_acids: UInt8[np.ndarray, 'm']) -> str:
  places = np.flatnonzero(amino_acids[:-1] == central_dogma.STOP)
  return f'{len(places)}, the first at codon {places[0] + 1}'


def _difference(
  amino_acids: UInt8[np.ndarray, '_'], expected: UInt8[np.ndarray, '_']
) -> str:
  if len(amino_acids) != len(expected):
    return f'{len(amino_acids)} residues, its protein has {len(expected)}'
  place = int(np.flatnonzero(amino_acids != expected)[0])
  return (
    f'residue {place + 1} is {AMINO_ACIDS[amino_acids[place]]}, '
    f'{AMINO_ACIDS[expected[place]]} in its protein'
  )


def _reject(molecule: Molecule, reason: str, detail: str = '') -> Reject:
  return Reject(molecule.name, molecule.kind, reason, detail)
