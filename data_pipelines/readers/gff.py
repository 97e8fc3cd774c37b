"""Rows of GFF3 and GTF."""

import dataclasses
from collections.abc import Collection, Iterator
from pathlib import Path

from gffutils.feature import feature_from_line

from data_pipelines.errors import InputError
from data_pipelines.readers.compressed import open_text


@dataclasses.dataclass(frozen=True)
class Row:
  """One feature row.

  Attributes:
    contig: Name of the sequence.
    type: Third column.
    start: 0-based first base.
    end: Half-open end.
    strand: 1, -1, or 0.
    phase: Bases to skip before the first whole codon; None where not given.
    attributes: Values by key, unquoted.
    line: 1-based line in the file.
  """

  contig: str
  type: str
  start: int
  end: int
  strand: int
  phase: int | None
  attributes: dict[str, tuple[str, ...]]
  line: int

  def first(self, key: str) -> str | None:
    """First value of an attribute, or None."""
    values = self.attributes.get(key)
    return values[0] if values else None


_STRANDS = {'+': 1, '-': -1}


def is_transcript(kind: str) -> bool:
  """True of feature types that name an RNA, transcribed and maybe spliced."""
  return kind.endswith(('RNA', 'transcript')) or kind in ('rnl', 'rns', 'rnpB')


def is_gene(kind: str) -> bool:
  """True of feature types that name a gene."""
  return kind.endswith('gene')


def is_read(kind: str) -> bool:
  """True of the feature types that records are made of."""
  return (
    kind in ('CDS', 'exon', 'stop_codon', 'protein')
    or kind.endswith('UTR')
    or is_transcript(kind)
    or is_gene(kind)
  )


def read_rows(path: Path, contigs: Collection[str]) -> Iterator[Row]:
  """Yields the rows that matter; every row must name one of `contigs`."""
  known = set(contigs)
  with open_text(path) as text:
    for number, line in enumerate(text, 1):
      if line.startswith(('##FASTA', '>')):
        return
      if line.startswith('#') or not line.strip():
        continue
      columns = line.rstrip('\r\n').split('\t')
      if len(columns) != 9:
        raise InputError(
          f'{path}, line {number}: {len(columns)} columns separated by tabs, '
          'expected 9; is this GFF3 or GTF?'
        )
      if columns[0] not in known:
        hint = ', '.join(sorted(known)[:5]) + (', …' if len(known) > 5 else '')
        raise InputError(
          f'{path}, line {number}: contig {columns[0]!r} is not in the FASTA '
          f'(which has {hint}); give the genome this annotation was made for'
        )
      if is_read(columns[2]):
        yield _parse(path, number, line.rstrip('\r\n'), columns)


def _parse(path: Path, number: int, line: str, columns: list[str]) -> Row:
  try:
    start, end = int(columns[3]) - 1, int(columns[4])
    phase = None if columns[7] == '.' else int(columns[7])
  except ValueError as error:
    raise InputError(
      f'{path}, line {number}: start, end or phase is not a number ({error})'
    ) from error
  if not 0 <= start < end or phase not in (None, 0, 1, 2):
    raise InputError(
      f'{path}, line {number}: start {start + 1}, end {end}, phase {phase}: '
      'expected 1 <= start <= end and a phase of 0, 1, 2 or "."'
    )
  attributes = feature_from_line(line).attributes
  return Row(
    contig=columns[0],
    type=columns[2],
    start=start,
    end=end,
    strand=_STRANDS.get(columns[6], 0),
    phase=phase,
    attributes={key: tuple(values) for key, values in attributes.items()},
    line=number,
  )
