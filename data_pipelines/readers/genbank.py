"""GenBank flat files: contigs, features and proteins in one."""

from pathlib import Path

from Bio import SeqIO
from Bio.SeqFeature import SeqFeature
from Bio.SeqRecord import SeqRecord

from data_pipelines.errors import InputError
from data_pipelines.readers import fasta, gff
from data_pipelines.readers.annotation import (
  Molecule,
  named_apart,
  parse_exceptions,
)
from data_pipelines.readers.compressed import open_text


def read_genbank(
  path: Path,
) -> tuple[dict[str, fasta.Contig], list[Molecule], dict[str, str]]:
  """Contigs by name, molecules, and letters of the proteins by name."""
  contigs: dict[str, fasta.Contig] = {}
  molecules: list[Molecule] = []
  proteins: dict[str, str] = {}
  with open_text(path) as text:
    try:
      records = list(SeqIO.parse(text, 'genbank'))
    except ValueError as error:
      raise InputError(f'{path}: not a GenBank file ({error})') from error
  for record in records:
    if record.id in contigs:
      raise InputError(f'{path}: two records are named {record.id!r}')
    if record.seq is None or not record.seq.defined:
      raise InputError(f'{path}: record {record.id!r} has no sequence (ORIGIN)')
    letters = str(record.seq)
    contigs[record.id] = fasta.encode_contig(path, record.id, letters)
    found = [_molecule(record, feature) for feature in record.features]
    molecules += [molecule for molecule in found if molecule]
    proteins |= _proteins(record)
  if not contigs:
    raise InputError(f'{path}: no GenBank record in it')
  return contigs, named_apart(molecules), proteins


def _molecule(record: SeqRecord, feature: SeqFeature) -> Molecule | None:
  is_coding = feature.type == 'CDS'
  if feature.location is None:
    return None
  if not is_coding and not gff.is_transcript(feature.type):
    return None
  qualifiers = feature.qualifiers
  name = _name(feature)
  # Biopython lists parts from 5' to 3', also on the reverse strand.
  parts = tuple((int(p.start), int(p.end)) for p in feature.location.parts)
  ends = str(feature.location)
  return Molecule(
    name=f'{"cds" if is_coding else "rna"}-{name}',
    kind='cds' if is_coding else 'rna',
    type=feature.type,
    contig=record.id,
    strand=feature.location.strand or 0,
    parts=parts,
    phase=int(qualifiers.get('codon_start', ['1'])[0]) - 1 if is_coding else 0,
    aliases=(name,),
    is_pseudo='pseudo' in qualifiers or 'pseudogene' in qualifiers,
    is_partial='<' in ends or '>' in ends,
    table=int(qualifiers.get('transl_table', ['1'])[0]) if is_coding else None,
    exceptions=parse_exceptions(qualifiers.get('transl_except', ())),
  )


def _name(feature: SeqFeature) -> str:
  for key in ('protein_id', 'locus_tag', 'gene'):
    if key in feature.qualifiers:
      return feature.qualifiers[key][0]
  return str(feature.location).replace(' ', '')


def _proteins(record: SeqRecord) -> dict[str, str]:
  return {
    _name(feature): feature.qualifiers['translation'][0]
    for feature in record.features
    if feature.type == 'CDS' and 'translation' in feature.qualifiers
  }
