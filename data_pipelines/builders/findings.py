"""Records of an organism's molecules, with what is found on the way."""

import collections
import dataclasses
from collections.abc import Iterable, Mapping

from data_pipelines.builders import molecules, proteins, splits
from data_pipelines.builders.manifest import Reject
from data_pipelines.readers.annotation import Molecule
from data_pipelines.readers.fasta import Contig
from data_pipelines.records import SPLITS, Record


@dataclasses.dataclass(frozen=True)
class Organism:
  """What molecules are made of.

  Attributes:
    source: Name of the data set.
    contigs: By name.
    tables: Genetic code of every contig; of '' for what lies on none.
    regions: Of every contig.
    proteins: To compare CDS with.
  """

  source: str
  contigs: Mapping[str, Contig]
  tables: Mapping[str, int]
  regions: Mapping[str, splits.Regions]
  proteins: proteins.ProteinIndex


@dataclasses.dataclass
class Findings:
  """Records of molecules by split, and what they tell of others.

  Attributes:
    records: In the order of the molecules.
    rejects: What was left out.
    counts: Of CDS, introns, and how they agree with their proteins.
    translations: Digests of what CDS translate to.
    accepted: CDS with a record, by transcript.
    rejected: Transcripts whose CDS has none.
  """

  records: dict[str, list[Record]] = dataclasses.field(
    default_factory=lambda: {split: [] for split in SPLITS}
  )
  rejects: list[Reject] = dataclasses.field(default_factory=list)
  counts: collections.Counter = dataclasses.field(
    default_factory=collections.Counter
  )
  translations: set[str] = dataclasses.field(default_factory=set)
  accepted: dict[str, Molecule] = dataclasses.field(default_factory=dict)
  rejected: set[str] = dataclasses.field(default_factory=set)


def find(
  organism: Organism,
  found: Iterable[Molecule],
  earlier: Iterable[Molecule] = (),
) -> Findings:
  """Records of molecules.

  Args:
    organism: Theirs.
    found: Of which records are made, in order.
    earlier: CDS before these, whose transcripts are among them; no record is
      made of them here.
  """
  findings = Findings()
  for molecule in earlier:
    _coding(molecule, organism, findings)
  findings.rejects.clear()
  findings.counts.clear()
  findings.translations.clear()
  for molecule in found:
    make = _coding if molecule.kind == 'cds' else _transcript
    kept = make(molecule, organism, findings)
    _place(kept, organism.regions[molecule.contig], findings)
  return findings


def _coding(
  molecule: Molecule, organism: Organism, findings: Findings
) -> Record | Reject:
  contig = organism.contigs[molecule.contig]
  result = molecules.coding(
    molecule,
    contig,
    table=_table(molecule, organism),
    protein=organism.proteins.find(molecule.aliases),
    source=organism.source,
  )
  counts = findings.counts
  if not molecule.is_pseudo:
    counts['cds'] += 1
    counts.update(molecules.count_introns(molecule, contig))
  if isinstance(result, Reject):
    if molecule.transcript:
      findings.rejected.add(molecule.transcript)
    return result
  counts[result.agreement] += 1
  counts['complete_orfs'] += result.is_complete
  findings.translations.add(proteins.digest(result.record.amino_acids))
  if molecule.transcript:
    findings.accepted[molecule.transcript] = molecule
  return result.record


def _transcript(
  molecule: Molecule, organism: Organism, findings: Findings
) -> Record | Reject | None:
  if molecule.transcript in findings.rejected:
    return Reject(molecule.name, 'rna', 'cds_rejected', molecule.transcript)
  record = molecules.transcript(
    molecule,
    organism.contigs[molecule.contig],
    table=_table(molecule, organism),
    source=organism.source,
    cds=findings.accepted.get(molecule.transcript),
  )
  findings.counts['mrna_equal_to_cds'] += record is None
  return record


def _table(molecule: Molecule, organism: Organism) -> int:
  return molecule.table or organism.tables[molecule.contig]


def _place(
  kept: Record | Reject | None, regions: splits.Regions, findings: Findings
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
