"""One organism: a genome, its annotation and its proteins become records."""

import collections
import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import tqdm

from data_pipelines import central_dogma
from data_pipelines.builders import (
  molecules,
  omics,
  proteins,
  shards,
  splits,
  windows,
)
from data_pipelines.builders.omics import Reject
from data_pipelines.errors import InputError
from data_pipelines.readers import annotation, fasta, genbank
from data_pipelines.readers.annotation import Molecule
from data_pipelines.readers.fasta import Contig
from data_pipelines.records import SPLITS, Record


@dataclasses.dataclass(frozen=True)
class Genome:
  """Where an organism comes from and how it is cut.

  Attributes:
    name: Name of the data set.
    fasta: Genome; None if `genbank` is given.
    gff: Annotation in GFF3 or GTF.
    proteins: Protein FASTA to compare CDS with.
    genbank: Genome, annotation and proteins in one file.
    genetic_code: `TABLE[,CONTIG:TABLE…]`; a table in the annotation goes first.
    window: Bases in a genome record.
    seed: Of the codons drawn for proteins without a CDS.
    held_out: What is held out.
  """

  name: str
  fasta: Path | None = None
  gff: Path | None = None
  proteins: Path | None = None
  genbank: Path | None = None
  genetic_code: str = '1'
  window: int = 6144
  seed: int = 0
  held_out: splits.SplitConfig = dataclasses.field(
    default_factory=splits.SplitConfig
  )

  def provenance(self) -> dict[str, Any]:
    """Inputs with their checksums, and every option that shapes the records."""
    inputs = {}
    for role in ('fasta', 'gff', 'proteins', 'genbank'):
      path = getattr(self, role)
      if path is not None:
        if not Path(path).is_file():
          raise InputError(f'--{role}={path}: no such file; check the path')
        digest = shards.sha256(path)
        inputs[role] = {'file': Path(path).name, 'sha256': digest}
    options = {
      'genetic_code': self.genetic_code,
      'window': self.window,
      'seed': self.seed,
      'held_out': dataclasses.asdict(self.held_out),
    }
    return {'inputs': inputs, 'options': options}


@dataclasses.dataclass
class _Findings:
  """Records of molecules by split, with what was found on the way."""

  records: dict[str, list[Record]]
  rejects: list[Reject]
  counts: collections.Counter
  translations: set[bytes]
  accepted: dict[str, Molecule]
  rejected: set[str]


def build(genome: Genome, out: Path, *, overwrite: bool) -> dict[str, Any]:
  """Writes the data set and returns the summary that the command prints."""
  provenance = genome.provenance()
  omics.check_target(out, genome.name, provenance, overwrite=overwrite)
  contigs, found, letters = _read(genome)
  tables = _tables(genome.genetic_code, contigs)
  lengths = {name: len(contig.sequence) for name, contig in contigs.items()}
  regions = splits.deal(lengths, genome.held_out)
  index = proteins.ProteinIndex(letters)
  findings = _find(genome, contigs, found, tables, regions, index)
  streams = {
    split: _progress(
      itertools.chain(
        windows.cut(
          contigs.values(),
          regions,
          split,
          num_bases=genome.window,
          tables=tables,
          source=genome.name,
          rejects=findings.rejects,
        ),
        findings.records[split],
      ),
      split,
    )
    for split in SPLITS
  }
  manifest = omics.write(
    streams,
    out,
    genome.name,
    provenance=provenance,
    rejects=findings.rejects,
    counts=findings.counts,
    overwrite=overwrite,
  )
  return _summary(manifest, findings, sum(lengths.values()), bool(index))


def _find(
  genome: Genome,
  contigs: dict[str, Contig],
  found: list[Molecule],
  tables: dict[str, int],
  regions: dict[str, splits.Regions],
  index: proteins.ProteinIndex,
) -> _Findings:
  """Records of the molecules, then of the proteins that no CDS asked for."""
  findings = _Findings(
    {split: [] for split in SPLITS}, [], collections.Counter(), set(), {}, set()
  )
  for molecule in _progress(found, 'molecules'):
    contig = contigs[molecule.contig]
    table = molecule.table or tables[molecule.contig]
    if molecule.kind == 'cds':
      kept = _coding(molecule, contig, table, index, genome.name, findings)
    else:
      kept = _transcript(molecule, contig, table, genome.name, findings)
    _place(kept, regions[molecule.contig], findings)
  _proteins(genome, tables[''], index, findings)
  return findings


def _read(
  genome: Genome,
) -> tuple[dict[str, Contig], list[Molecule], dict[str, str]]:
  if (genome.fasta is None) == (genome.genbank is None):
    raise InputError('give either --fasta (with --gff) or --genbank')
  if genome.genbank is not None:
    contigs, found, letters = genbank.read_genbank(genome.genbank)
  else:
    contigs, found, letters = fasta.read_genome(genome.fasta), [], {}
  if genome.gff is not None:
    found = annotation.read_annotation(genome.gff, contigs)
  if genome.proteins is not None:
    letters = fasta.read_proteins(genome.proteins)
  return contigs, found, letters


def _tables(text: str, contigs: dict[str, Contig]) -> dict[str, int]:
  """Genetic code of every contig; of '' for what lies on none."""
  head, *rest = text.split(',')
  try:
    default = int(head)
    named = {c: int(t) for c, t in (item.rsplit(':', 1) for item in rest)}
  except ValueError as error:
    raise InputError(
      f'--genetic_code={text}: expected TABLE or TABLE,CONTIG:TABLE,…'
    ) from error
  for table in (default, *named.values()):
    central_dogma.genetic_code(table)
  if unknown := sorted(set(named) - set(contigs)):
    raise InputError(f'--genetic_code={text}: no contig {unknown[0]!r}')
  return {'': default, **dict.fromkeys(contigs, default), **named}


def _coding(
  molecule: Molecule,
  contig: Contig,
  table: int,
  index: proteins.ProteinIndex,
  source: str,
  findings: _Findings,
) -> Record | Reject:
  letters = index.find(molecule.aliases)
  result = molecules.coding(
    molecule, contig, table=table, protein=letters, source=source
  )
  counts = findings.counts
  if not molecule.is_pseudo:
    counts['cds'] += 1
    counts.update(molecules.count_introns(molecule, contig))
  if isinstance(result, Reject):
    findings.rejected.add(molecule.transcript)
    return result
  counts[result.agreement] += 1
  counts['complete_orfs'] += result.is_complete
  amino_acids = result.record.amino_acids
  has_stop = amino_acids[-1] == central_dogma.STOP
  findings.translations.add(
    amino_acids[: len(amino_acids) - has_stop].tobytes()
  )
  findings.accepted[molecule.transcript] = molecule
  return result.record


def _transcript(
  molecule: Molecule,
  contig: Contig,
  table: int,
  source: str,
  findings: _Findings,
) -> Record | Reject | None:
  if molecule.transcript in findings.rejected:
    return Reject(molecule.name, 'rna', 'cds_rejected', molecule.transcript)
  cds = findings.accepted.get(molecule.transcript)
  record = molecules.transcript(
    molecule, contig, table=table, source=source, cds=cds
  )
  findings.counts['mrna_equal_to_cds'] += record is None
  return record


def _place(
  kept: Record | Reject | None, regions: splits.Regions, findings: _Findings
) -> None:
  if isinstance(kept, Reject):
    findings.rejects.append(kept)
  elif kept is not None:
    split = regions.split_of(kept.start, kept.end)
    if split is None:
      kind = 'rna' if not len(kept.amino_acids) else 'cds'
      span = f'{kept.contig}:{kept.start}-{kept.end}'
      findings.rejects.append(
        Reject(kept.name, kind, 'crosses_split_boundary', span)
      )
    else:
      findings.records[split].append(kept)


def _proteins(
  genome: Genome,
  table: int,
  index: proteins.ProteinIndex,
  findings: _Findings,
) -> None:
  usage = central_dogma.codon_usage(
    (r.sequence for r in findings.records['train'] if len(r.amino_acids)), table
  )
  for name, letters in index.unused():
    if central_dogma.encode_protein(letters).tobytes() in findings.translations:
      reject = Reject(f'protein-{name}', 'protein', 'same_as_a_cds')
      findings.rejects.append(reject)
      continue
    # Equal proteins must not lie on two sides of a split.
    split = splits.split_by_name(letters, genome.held_out)
    findings.records[split].append(
      proteins.reverse_translated(
        name,
        letters,
        table=table,
        usage=usage,
        source=genome.name,
        seed=genome.seed,
      )
    )


def _progress(items: Iterable[Any], description: str) -> Iterator[Any]:
  # A generator, so that the bar is drawn only once its turn has come.
  yield from tqdm.tqdm(items, desc=description, unit='', leave=False)


def _summary(
  manifest: dict[str, Any],
  findings: _Findings,
  num_bases: int,
  has_proteins: bool,
) -> dict[str, Any]:
  counts = findings.counts
  reasons = collections.Counter(reject.reason for reject in findings.rejects)
  with_exceptions = counts[molecules.EQUAL_WITH_EXCEPTIONS]
  return {
    'name': manifest['name'],
    'bases': num_bases,
    'records': sum(s['records'] for s in manifest['splits'].values()),
    'cds': counts['cds'],
    'cds_equal_protein': counts[molecules.EQUAL] if has_proteins else None,
    'equal_with_translation_exceptions': with_exceptions,
    'cds_without_protein': counts[molecules.NO_PROTEIN],
    'complete_orfs': counts['complete_orfs'],
    'coding_introns': counts['coding_introns'],
    'coding_introns_gt_ag': counts['coding_introns_gt_ag'],
    'rejected': len(findings.rejects),
    'by_reason': dict(reasons.most_common()),
    'splits': {
      split: {'records': s['records'], 'bases': s['bases']}
      for split, s in manifest['splits'].items()
    },
  }
