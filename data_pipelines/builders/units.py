"""Parts of a build that do not wait for one another, and what each leaves.

A unit is a function of its plan: it can be made in any process, and again.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np

from data_pipelines.builders import proteins, windows
from data_pipelines.builders.findings import Findings, Organism, find
from data_pipelines.builders.manifest import Tally
from data_pipelines.readers.annotation import Molecule
from data_pipelines.records import SPLITS, Record

# Of a unit.
_BASES, _MOLECULES, _PROTEINS = 25_000_000, 256, 1_024
_Item = TypeVar('_Item')


@dataclasses.dataclass(frozen=True)
class Setting:
  """What all units of a build read.

  Attributes:
    organism: Its contigs are files.
    window: Bases in a genome record.
    seed: Of the codons drawn for proteins.
  """

  organism: Organism
  window: int
  seed: int


@dataclasses.dataclass
class Made:
  """What is known of the records of a unit.

  Attributes:
    tally: Of all of them.
    findings: What molecules tell; their records are in the piece.
    used: Headers of the proteins that they asked for.
  """

  tally: Tally = dataclasses.field(default_factory=Tally)
  findings: Findings = dataclasses.field(default_factory=Findings)
  used: frozenset[str] = frozenset()

  def update(self, later: 'Made', source: str) -> None:
    """Adds those of the unit behind."""
    self.tally.update(later.tally, source)
    self.findings.rejects += later.findings.rejects
    self.findings.counts.update(later.findings.counts)
    self.findings.translations |= later.findings.translations
    self.used |= later.used


@runtime_checkable
class Unit(Protocol):
  """Some records of a build."""

  def records(
    self, setting: Setting, made: Made
  ) -> Iterator[tuple[str, Record]]:
    """With the split of each; tells `made` what is not in their tally."""


@dataclasses.dataclass(frozen=True)
class Windows:
  """Of spans of the genome."""

  split: str
  spans: tuple[windows.Span, ...]

  def records(
    self, setting: Setting, made: Made
  ) -> Iterator[tuple[str, Record]]:
    """With the split of each."""
    organism = setting.organism
    for span in self.spans:
      cut = windows.cut(
        organism.contigs[span.contig],
        span,
        num_bases=setting.window,
        table=organism.tables[span.contig],
        source=organism.source,
        rejects=made.findings.rejects,
      )
      for record in cut:
        yield self.split, record


@dataclasses.dataclass(frozen=True)
class Molecules:
  """Of molecules; `earlier` are CDS of their transcripts that came before."""

  own: tuple[Molecule, ...]
  earlier: tuple[Molecule, ...]

  def records(
    self, setting: Setting, made: Made
  ) -> Iterator[tuple[str, Record]]:
    """With the split of each."""
    names = {molecule.contig for molecule in (*self.own, *self.earlier)}
    organism = dataclasses.replace(
      setting.organism,
      contigs={name: setting.organism.contigs[name] for name in names},
      proteins=setting.organism.proteins.anew(),
    )
    found = find(organism, self.own, self.earlier)
    made.findings = Findings(
      rejects=found.rejects,
      counts=found.counts,
      translations=found.translations,
    )
    made.used = organism.proteins.used
    for split, records in found.records.items():
      for record in records:
        yield split, record


@dataclasses.dataclass(frozen=True)
class Proteins:
  """Of proteins that no CDS asked for: (split, name, letters)."""

  items: tuple[tuple[str, str, str], ...]
  usage: np.ndarray

  def records(
    self, setting: Setting, made: Made
  ) -> Iterator[tuple[str, Record]]:
    """With the split of each."""
    del made
    for split, name, letters in self.items:
      yield (
        split,
        proteins.reverse_translated(
          name,
          letters,
          table=setting.organism.tables[''],
          usage=self.usage,
          source=setting.organism.source,
          seed=setting.seed,
        ),
      )


def of_windows(setting: Setting) -> list[Windows]:
  """All windows, by split."""
  made = []
  at_most = max(_BASES // setting.window, 1) * setting.window
  for split in SPLITS:
    spans = windows.spans(setting.organism.regions, split, num_bases=at_most)
    for some in _batched(spans, lambda span: span.stop - span.begin, at_most):
      made.append(Windows(split, tuple(some)))
  return made


def of_molecules(found: Sequence[Molecule]) -> list[Molecules]:
  """All molecules in order, each with the CDS that it needs."""
  made = []
  coding: dict[str, list[Molecule]] = {}
  for own in _batched(found, lambda molecule: 1, _MOLECULES):
    wanted = {m.transcript for m in own if m.kind == 'rna' and m.transcript}
    earlier = [cds for name in sorted(wanted) for cds in coding.get(name, ())]
    made.append(Molecules(tuple(own), tuple(earlier)))
    for molecule in own:
      if molecule.kind == 'cds':
        coding.setdefault(molecule.transcript, []).append(molecule)
  return made


def of_proteins(
  items: Sequence[tuple[str, str, str]], usage: np.ndarray
) -> list[Proteins]:
  """All proteins in order."""
  return [
    Proteins(tuple(part), usage)
    for part in _batched(items, lambda item: 1, _PROTEINS)
  ]


def _batched(
  items: Iterable[_Item], size_of: Callable[[_Item], int], size: int
) -> Iterator[list[_Item]]:
  """Neighbours, until they come to `size`."""
  batch, total = [], 0
  for item in items:
    batch.append(item)
    total += size_of(item)
    if total >= size:
      yield batch
      batch, total = [], 0
  if batch:
    yield batch
