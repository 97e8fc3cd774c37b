"""Coding sequences and transcripts, put together from annotation rows."""

import dataclasses
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from Bio.Data.IUPACData import protein_letters_3to1

from data_pipelines.readers import gff
from data_pipelines.readers.gff import Row

Span = tuple[int, int]

_LETTERS = {**protein_letters_3to1, 'Sec': 'U', 'Pyl': 'O', 'TERM': '*'}
_EXCEPTION = re.compile(r'pos:\D*(\d+)(?:\.\.(\d+))?\)?(?:,|%2C)\s*aa:(\w+)')


@dataclasses.dataclass(frozen=True)
class Molecule:
  """A CDS or a transcript on the genome.

  Attributes:
    name: Name of its record.
    kind: What it is.
    type: Feature type, e.g. `tRNA`.
    contig: Name of the contig.
    strand: 1 or -1; 0 if unknown or mixed.
    parts: Its exons, 5' to 3' on the molecule.
    phase: Bases to skip before the first whole codon (CDS).
    aliases: Names under which its protein may be found (CDS).
    transcript: Id of the transcript, which joins a CDS with its mRNA.
    is_pseudo: True if annotated as a pseudogene.
    is_partial: True if annotated as incomplete.
    table: Genetic code the annotation gives, or None.
    exceptions: (span on the contig, letter of the amino acid) of codons that
      are read in another way than the table says (CDS).
  """

  name: str
  kind: Literal['cds', 'rna']
  type: str
  contig: str
  strand: int
  parts: tuple[Span, ...]
  phase: int = 0
  aliases: tuple[str, ...] = ()
  transcript: str = ''
  is_pseudo: bool = False
  is_partial: bool = False
  table: int | None = None
  exceptions: tuple[tuple[Span, str], ...] = ()


def read_annotation(
  path: Path, contigs: Mapping[str, object]
) -> list[Molecule]:
  """CDS and transcripts of a GFF3 or GTF file, in the order of the file."""
  rows = list(gff.read_rows(path, contigs))
  by_id = {row.first('ID'): row for row in rows if row.first('ID')}
  for row in rows:
    is_gtf = 'ID' not in row.attributes and 'transcript_id' in row.attributes
    if is_gtf and gff.is_transcript(row.type):
      by_id[row.first('transcript_id')] = row
  coding = [_coding(key, r, by_id) for key, r in _group_coding(rows, by_id)]
  return named_apart([*coding, *_transcripts(rows, by_id)])


def parse_exceptions(texts: Iterable[str]) -> tuple[tuple[Span, str], ...]:
  """Spans and letters of `transl_except` values of GFF3 and GenBank.

  Residues without a letter of their own (`OTHER`) are X.
  """
  found = _EXCEPTION.findall(','.join(texts))
  return tuple(
    ((int(start) - 1, int(end or start)), _LETTERS.get(residue, 'X'))
    for start, end, residue in found
  )


def _parents(row: Row) -> tuple[str, ...]:
  # GTF has no Parent; its rows name the transcript.
  return row.attributes.get('Parent') or row.attributes.get('transcript_id', ())


def _group_coding(
  rows: list[Row], by_id: Mapping[str, Row]
) -> Iterable[tuple[str, list[Row]]]:
  """Rows of each CDS.

  NCBI gives the rows of a CDS one ID; others give every exon its own ID, or
  none, and tell the CDS by the transcript that is its parent. A CDS may be the
  child of several transcripts; two proteins may share a polycistronic mRNA.
  """
  groups = defaultdict(list)
  for row in rows:
    is_gtf_stop = row.type == 'stop_codon' and 'Parent' not in row.attributes
    if row.type != 'CDS' and not is_gtf_stop:
      continue
    transcripts = [p for p in _parents(row) if _is_transcript_id(p, row, by_id)]
    protein = row.first('protein_id') or ''
    if transcripts:
      for parent in transcripts:
        groups[parent, '' if is_gtf_stop else protein].append(row)
    else:
      name = row.first('ID') or next(iter(_parents(row)), f'line{row.line}')
      groups[name, protein].append(row)
  for (name, _), members in groups.items():
    yield name, members


def _is_transcript_id(parent: str, row: Row, by_id: Mapping[str, Row]) -> bool:
  """True if a CDS of this parent is told by it rather than by its own ID."""
  if parent in by_id:
    return gff.is_transcript(by_id[parent].type)
  # TAIR lists the transcript and its protein; an excerpt may lack both rows.
  others = set(_parents(row)) - {parent}
  return not any(parent == f'{other}-Protein' for other in others)


def _coding(name: str, rows: list[Row], by_id: Mapping[str, Row]) -> Molecule:
  strand, parts = _ordered(rows)
  first = min(rows, key=lambda r: r.start if strand >= 0 else -r.end)
  ancestors = _ancestors(rows, by_id)
  exceptions = [
    text for r in rows[:1] for text in r.attributes.get('transl_except', ())
  ]
  table = first.first('transl_table')
  is_own_id = name == first.first('ID')
  # A row shared by several transcripts names proteins that are not this one.
  others = [first.first('Name'), *_parents(first)] if is_own_id else []
  genes = [r.first('ID') for r in ancestors if gff.is_gene(r.type)]
  ids = [row.first('ID') for row in rows]
  aliases = [first.first('protein_id'), *ids, name, *others, *genes]
  return Molecule(
    name=name if is_own_id else f'cds-{name}',
    kind='cds',
    type='CDS',
    contig=first.contig,
    strand=strand,
    parts=parts,
    phase=first.phase or 0,
    aliases=tuple(dict.fromkeys(a for a in aliases if a)),
    transcript='' if is_own_id else name,
    is_pseudo=any(map(_is_pseudo, [*rows, *ancestors])),
    is_partial=any(row.first('partial') == 'true' for row in rows),
    table=int(table) if table else None,
    exceptions=parse_exceptions(exceptions),
  )


def _transcripts(
  rows: list[Row], by_id: Mapping[str, Row]
) -> Iterable[Molecule]:
  """Every declared RNA; without exon rows, CDS and UTR rows make it up."""
  children = defaultdict(lambda: defaultdict(list))
  for row in rows:
    group = 'exon' if row.type == 'exon' else 'part'
    if row.type in ('exon', 'CDS') or row.type.endswith('UTR'):
      for parent in _parents(row):
        children[parent][group].append(row)
  for row in rows:
    if not gff.is_transcript(row.type):
      continue
    key = row.first('ID') or row.first('transcript_id') or ''
    name = key or f'{row.type}:{row.contig}:{row.start + 1}-{row.end}'
    below = children[key] if key else {}
    strand, parts = _ordered(below.get('exon') or below.get('part') or [row])
    ancestors = _ancestors([row], by_id)
    yield Molecule(
      name=name if name.startswith('rna') else f'rna-{name}',
      kind='rna',
      type=row.type,
      contig=row.contig,
      strand=strand,
      parts=parts,
      transcript=key,
      is_pseudo=any(map(_is_pseudo, [row, *ancestors])),
    )


def _ordered(rows: list[Row]) -> tuple[int, tuple[Span, ...]]:
  """Strand, and parts from 5' to 3'; parts that touch are one."""
  strands = {row.strand for row in rows}
  contigs = {row.contig for row in rows}
  is_one = len(strands) == 1 and len(contigs) == 1
  strand = strands.pop() if is_one else 0
  parts: list[Span] = []
  for start, end in sorted((row.start, row.end) for row in rows):
    if parts and parts[-1][1] == start:
      parts[-1] = (parts[-1][0], end)
    else:
      parts.append((start, end))
  return strand, tuple(parts if strand >= 0 else parts[::-1])


def _ancestors(rows: list[Row], by_id: Mapping[str, Row]) -> list[Row]:
  found: dict[int, Row] = {}
  names = [p for row in rows for p in _parents(row)]
  while names:
    row = by_id.get(names.pop())
    if row is not None and row.line not in found:
      found[row.line] = row
      names += _parents(row)
  return list(found.values())


def _is_pseudo(row: Row) -> bool:
  if row.type.startswith('pseudogen') or 'pseudogene' in row.attributes:
    return True
  biotype = row.first('gene_biotype') or row.first('biotype') or ''
  return row.first('pseudo') == 'true' or 'pseudogene' in biotype


def named_apart(molecules: list[Molecule]) -> list[Molecule]:
  """Adds `:2`, `:3`, … to names that came before."""
  seen: dict[str, int] = defaultdict(int)
  named = []
  for molecule in molecules:
    seen[molecule.name] += 1
    if (count := seen[molecule.name]) > 1:
      name = f'{molecule.name}:{count}'
      molecule = dataclasses.replace(molecule, name=name)
    named.append(molecule)
  return named
