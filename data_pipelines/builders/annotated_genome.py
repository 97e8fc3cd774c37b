"""One organism: a genome, its annotation and its proteins become records."""

import collections
import dataclasses
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from data_pipelines import central_dogma
from data_pipelines.builders import (
  contig_files,
  findings,
  molecules,
  omics,
  proteins,
  runners,
  shards,
  splits,
  staged,
  units,
)
from data_pipelines.builders.alike import Alike, leave_out
from data_pipelines.builders.manifest import Reject, describe
from data_pipelines.errors import InputError
from data_pipelines.readers import annotation, fasta, genbank
from data_pipelines.readers.annotation import Molecule


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
    alike: What is left out because it is like other records.
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
  alike: Alike = dataclasses.field(default_factory=Alike)

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
    if self.alike:
      options['alike'] = dataclasses.asdict(self.alike)
    return {'inputs': inputs, 'options': options}


def build(
  genome: Genome,
  out: Path,
  *,
  overwrite: bool,
  run: staged.Runner = runners.here,
) -> dict[str, Any]:
  """Writes the data set and returns the summary that the command prints.

  A build that was killed goes on where it was.

  Args:
    genome: What is built.
    out: Folder of data sets.
    overwrite: Whether other content is replaced.
    run: Where its parts are worked on.
  """
  provenance = genome.provenance()
  # Workers may stand in another folder.
  out = Path(out).resolve()
  omics.check_target(out, genome.name, provenance, overwrite=overwrite)
  out.mkdir(parents=True, exist_ok=True)
  stage = staged.Stage(out / f'.{genome.name}.building', genome.name, run)
  with stage.locked(), stage.emptied():
    omics.check_target(out, genome.name, provenance, overwrite=overwrite)
    is_resumed = stage.begin(provenance)
    setting, found = _read(genome, stage)
    total, folders = _make(genome, stage, setting, found)
    directory = stage.write_shards(folders, total.tally)
    manifest = describe(
      directory,
      genome.name,
      total.tally,
      provenance=provenance,
      rejects=total.findings.rejects,
      counts=total.findings.counts,
    )
    replaced = stage.folder / 'replaced'
    shutil.rmtree(replaced, ignore_errors=True)
    omics.publish(directory.parent, out / genome.name, replaced)
  organism = setting.organism
  num_bases = sum(organism.contigs.lengths.values())
  summary = _summary(manifest, total, num_bases, bool(organism.proteins))
  return {**summary, 'is_resumed': is_resumed}


def _make(
  genome: Genome,
  stage: staged.Stage,
  setting: units.Setting,
  found: list[Molecule],
) -> tuple[units.Made, list[Path]]:
  """Pieces of windows, molecules and proteins, and what all of them come to."""
  source = genome.name
  of_windows = units.of_windows(setting)
  first = [*of_windows, *units.of_molecules(found)]
  pieces = stage.make(setting, first, 'units')
  windows, others = pieces[: len(of_windows)], pieces[len(of_windows) :]
  total = units.Made()
  for made in staged.made(others):
    total.update(made, source)
  left, same = _left_proteins(genome, setting.organism, total)
  usage = central_dogma.usage_of_counts(
    total.tally.codons, setting.organism.tables['']
  )
  others += stage.make(setting, units.of_proteins(left, usage), 'proteins')
  if genome.alike:
    pieces = leave_out(genome.alike, stage, setting, [*windows, *others])
    windows, others = pieces[: len(windows)], pieces[len(windows) :]
  # Windows lie before molecules, but what they reject is told last.
  whole, cut = units.Made(), []
  for made in staged.made(windows):
    whole.tally.update(made.tally, source)
    cut += made.findings.rejects
  for made in staged.made(others):
    whole.update(made, source)
  whole.findings.rejects += [*same, *cut]
  return whole, [*windows, *others]


def _left_proteins(
  genome: Genome, organism: findings.Organism, total: units.Made
) -> tuple[list[tuple[str, str, str]], list[Reject]]:
  """Split, name and letters of those that no CDS asked for; or equals one."""
  organism.proteins.use(total.used)
  left, same = [], []
  for name, letters in organism.proteins.unused():
    residues = central_dogma.encode_protein(letters)
    if proteins.digest(residues) in total.findings.translations:
      reject = Reject(f'protein-{name}', 'protein', 'same_as_a_cds')
      same.append(reject)
      continue
    # Equal proteins must not lie on two sides of a split.
    split = splits.split_by_name(letters, genome.held_out)
    left.append((split, name, letters))
  return left, same


def _read(
  genome: Genome, stage: staged.Stage
) -> tuple[units.Setting, list[Molecule]]:
  """What units read, and the molecules."""
  if (genome.fasta is None) == (genome.genbank is None):
    raise InputError('give either --fasta (with --gff) or --genbank')
  found, letters = [], {}
  if genome.genbank is not None:
    read, found, letters = genbank.read_genbank(genome.genbank)
    read = read.values()
  else:
    read = fasta.read_contigs(genome.fasta)
  contigs = contig_files.write(read, stage.folder / 'contigs')
  if genome.gff is not None:
    found = annotation.read_annotation(genome.gff, contigs)
  if genome.proteins is not None:
    letters = fasta.read_proteins(genome.proteins)
  organism = findings.Organism(
    source=genome.name,
    contigs=contigs,
    tables=_tables(genome.genetic_code, contigs.lengths),
    regions=splits.deal(contigs.lengths, genome.held_out),
    proteins=proteins.ProteinIndex(letters),
  )
  return units.Setting(organism, genome.window, genome.seed), found


def _tables(text: str, contigs: Collection[str]) -> dict[str, int]:
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


def _summary(
  manifest: dict[str, Any],
  total: units.Made,
  num_bases: int,
  has_proteins: bool,
) -> dict[str, Any]:
  counts, rejects = total.findings.counts, total.findings.rejects
  reasons = collections.Counter(
    reject.reason for reject in total.findings.rejects
  )
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
    'rejected': len(rejects),
    'by_reason': dict(reasons.most_common()),
    'splits': {
      split: {'records': s['records'], 'bases': s['bases']}
      for split, s in manifest['splits'].items()
    },
  }
