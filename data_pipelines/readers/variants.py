"""Phased genotypes of VCF files, and the haplotypes they make of a genome.

Needs pysam: the extra `people`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pysam
from jaxtyping import UInt8

from data_pipelines import central_dogma
from data_pipelines.errors import InputError


class Variant(NamedTuple):
  """Bases of the genome that others stand in for.

  Attributes:
    start: 0-based first base.
    reference: What the genome has there.
    alternative: What the haplotype has.
  """

  start: int
  reference: UInt8[np.ndarray, 'n']
  alternative: UInt8[np.ndarray, 'm']

  @property
  def end(self) -> int:
    """Half-open end on the genome."""
    return self.start + self.reference.size


@dataclasses.dataclass(frozen=True)
class Haplotypes:
  """Both haplotypes of people, as differences from a genome.

  Attributes:
    people: Names of samples.
    variants: By (contig, person, 0 or 1), in the order of the genome; of
      overlapping ones the first alone.
    notes: What of the file is not in here, counted: one line each.
  """

  people: Sequence[str]
  variants: Mapping[tuple[str, str, int], Sequence[Variant]]
  notes: tuple[str, ...] = ()

  def around(
    self,
    contig: UInt8[np.ndarray, '_'],
    key: tuple[str, str, int],
    anchor: int,
    before: int,
    after: int,
  ) -> UInt8[np.ndarray, '_']:
    """Bases of a haplotype around a base of the genome.

    Insertions and deletions move what is farther out, never the anchor, so
    that the window keeps its length. A variant that has bases on either side
    of the anchor is left as the genome has it.

    Args:
      contig: The genome's.
      key: Of `variants`.
      anchor: 0-based.
      before: Bases below the anchor.
      after: Bases from the anchor on.

    Returns:
      `before + after` bases on the strand of the genome, N beyond its ends.
    """
    variants = self.variants.get(key, ())
    right = [v for v in variants if v.start >= anchor]
    left = [v for v in variants if v.end <= anchor]
    upper = _outward(contig[anchor:], [_moved(v, anchor) for v in right], after)
    # The other way round, the same.
    mirrored = [
      Variant(anchor - v.end, v.reference[::-1], v.alternative[::-1])
      for v in reversed(left)
    ]
    lower = _outward(contig[:anchor][::-1], mirrored, before)
    return np.concatenate([lower[::-1], upper])


def _moved(variant: Variant, by: int) -> Variant:
  return variant._replace(start=variant.start - by)


def _outward(
  bases: UInt8[np.ndarray, '_'], variants: Sequence[Variant], length: int
) -> UInt8[np.ndarray, '_']:
  """The first `length` bases with variants in place, filled up with N."""
  pieces, at, total = [], 0, 0
  for variant in variants:
    if total + variant.start - at >= length:
      break
    pieces += [bases[at : variant.start], variant.alternative]
    total += variant.start - at + variant.alternative.size
    at = variant.end
  pieces.append(bases[at : at + max(length - total, 0)])
  found = np.concatenate(pieces)[:length]
  unknown = central_dogma.encode('N')[0]
  return np.pad(found, (0, length - found.size), constant_values=unknown)


def read_haplotypes(
  path: str | Path,
  contigs: Mapping[str, UInt8[np.ndarray, '_']],
  people: Sequence[str] | None = None,
) -> Haplotypes:
  """Reads a VCF or BCF file, plain or compressed, index or not.

  Args:
    path: The file.
    contigs: Of the genome that it was called on.
    people: Whose haplotypes; None is all.

  Raises:
    InputError: REF is not what the genome has, a contig or person is not
      there, or a genotype is not phased.
  """
  path = str(path)
  try:
    file = pysam.VariantFile(path)
  except (OSError, ValueError) as error:
    raise InputError(f'{path}: cannot be read as VCF ({error})') from error
  try:
    with file:
      people, found, left_out = _read(path, file, contigs, people)
  except InputError:
    raise
  except (OSError, ValueError) as error:
    raise InputError(
      f'{path}: damaged ({error}); fetch the file again'
    ) from error
  notes = tuple(
    f'{number:,} alleles of {Path(path).name} left out: {why}'
    for why, number in left_out.items()
    if number
  )
  return Haplotypes(people, found, notes)


def _read(
  path: str,
  file: pysam.VariantFile,
  contigs: Mapping[str, UInt8[np.ndarray, '_']],
  people: Sequence[str] | None,
) -> tuple[list[str], dict, dict[str, int]]:
  """People, their variants, and how many alleles are left out for what."""
  known = list(file.header.samples)
  if unknown := sorted(set(people or ()) - set(known)):
    raise InputError(
      f'{path}: no sample {unknown[0]!r}; there are {len(known):,}, such as '
      f'{", ".join(known[:3])}'
    )
  people = known if people is None else list(people)
  found: dict[tuple[str, str, int], list[Variant]] = {}
  left_out = {'alleles that are no bases': 0, 'overlaps': 0}
  for record in file:
    _check_reference(path, record, contigs)
    for person in people:
      _add(path, record, person, found, left_out)
  return people, found, left_out


def _check_reference(
  path: str,
  record: pysam.VariantRecord,
  contigs: Mapping[str, UInt8[np.ndarray, '_']],
) -> None:
  where = f'{path}: {record.chrom}:{record.pos}'
  if record.chrom not in contigs:
    raise InputError(
      f'{where}: the genome has no {record.chrom!r} but '
      f'{", ".join(sorted(contigs)[:3])}; name contigs alike'
    )
  contig = contigs[record.chrom][record.start : record.start + len(record.ref)]
  there = central_dogma.decode(contig)
  if there != record.ref.upper():
    raise InputError(
      f'{where}: REF is {record.ref}, the genome has {there or "nothing"}; '
      'give the genome build that the file was called on'
    )


def _add(path, record, person, found, left_out) -> None:
  """The alleles of one person that are not the genome's."""
  call = record.samples[person]
  alleles = call.get('GT', (None,))
  if len(set(alleles)) > 1 and not call.phased:
    raise InputError(
      f'{path}: {record.chrom}:{record.pos}: the genotype of {person} is not '
      'phased; phase the file first'
    )
  for haplotype, allele in enumerate(alleles):
    if not allele:
      continue
    letters = record.alleles[allele].upper()
    if set(letters) - set('ACGTN'):
      left_out['alleles that are no bases'] += 1
      continue
    before = found.setdefault((record.chrom, person, haplotype), [])
    variant = Variant(
      record.start,
      central_dogma.encode(record.ref.upper()),
      central_dogma.encode(letters),
    )
    if before and before[-1].end > variant.start:
      left_out['overlaps'] += 1
      continue
    before.append(variant)
