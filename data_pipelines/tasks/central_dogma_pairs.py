"""Does this CDS code for that protein? Pairs with a known rule.

The protein is written back as freshly drawn codons, so that no codon need
agree. Translating both sides solves the task without an error.
"""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8

from data_pipelines import central_dogma, records
from data_pipelines.errors import InputError
from data_pipelines.readers import fasta
from data_pipelines.tasks import table
from data_pipelines.tasks.choose import Limits, RandomSplit
from data_pipelines.tasks.codons import ReverseTranslation
from data_pipelines.tasks.task import Metric, Task

EDITS = ('substitution', 'insertion', 'deletion')

# What a pair is: the protein of the CDS, that of another gene, or an edited
# copy of its own.
KINDS = ('positive', 'shuffled', 'hard')

_NUM_COMMON = records.AMINO_ACIDS.index('*')
# A stranger's protein is drawn among so many neighbours in length each side.
_NEIGHBOURS = 5


class Gene(NamedTuple):
  """A complete CDS, and its residues without the stop."""

  name: str
  bases: UInt8[np.ndarray, 'n']
  residues: UInt8[np.ndarray, 'm']


@dataclasses.dataclass(frozen=True)
class CentralDogmaPairs:
  """Makes the task: of every gene a pair that belongs together and one not.

  Left out and counted: records that are no complete CDS of unambiguous bases
  (start to stop, no stop between), and genes above `max_bases`. Genes of equal
  proteins share a split; a gene, and its protein, is in one split alone.
  Intervals are over the genes of the CDS.

  Attributes:
    path: FASTA of CDS.
    task_name: Row of a results table.
    genetic_code: NCBI table of the CDS and of the codons drawn.
    max_bases: Longer genes are left out and counted; None takes all.
    hard: Share of the negatives that are edited copies of the true protein;
      the others are the protein of another gene of the split, of similar
      length.
    changed: Share of the residues that are edited, at least one.
    edits: Kinds of edits, one drawn for each hard negative.
    codons: How proteins become codons.
    split: Which genes train and which test.
    limits: How many genes are taken.
    metric: What is reported.
    seed: Of the negatives and of the codons of every pair.
  """

  path: str
  task_name: str = 'central_dogma'
  genetic_code: int = 1
  max_bases: int | None = None
  hard: float = 0.5
  changed: float = 0.1
  edits: tuple[str, ...] = ('substitution',)
  codons: ReverseTranslation = dataclasses.field(
    default_factory=ReverseTranslation
  )
  split: RandomSplit = dataclasses.field(default_factory=RandomSplit)
  limits: Limits = dataclasses.field(default_factory=Limits)
  metric: Metric = 'mcc'
  seed: int = 0

  def __post_init__(self):
    if not 0 <= self.hard <= 1 or not 0 < self.changed < 1:
      raise InputError(
        f'hard {self.hard}, changed {self.changed}: shares, the second above 0'
      )
    if not self.edits or set(self.edits) - set(EDITS):
      raise InputError(f'edits {self.edits}: choose among {", ".join(EDITS)}')
    if self.codons.genetic_code != self.genetic_code:
      raise InputError(
        f'codons of genetic code {self.codons.genetic_code} for CDS of code '
        f'{self.genetic_code}; give both the same'
      )

  def __call__(self) -> Task:
    return self.with_kinds()[0]

  def with_kinds(self) -> tuple[Task, Shaped[np.ndarray, 'e']]:
    """The task, and which of `KINDS` each of its pairs is."""
    genes, notes = self._genes()
    split = self.split([gene.residues.tobytes() for gene in genes])
    kept = self.limits.kept(split)
    notes = (*notes, *self.limits.notes(split))
    genes, split = [genes[i] for i in kept], split[kept]
    rng = np.random.default_rng(self.seed)
    is_hard = rng.random(len(genes)) < self.hard
    strangers = _strangers(genes, split, rng)
    composition = _composition([gene.residues for gene in genes])
    partners, kinds = [], []
    for index, gene in enumerate(genes):
      if is_hard[index]:
        wrong = self._edit(gene.residues, composition, rng)
      else:
        wrong = genes[strangers[index]].residues
      for residues in (gene.residues, wrong):
        partners.append(self.codons.of_residues(residues, rng))
      kinds += ['positive', 'hard' if is_hard[index] else 'shuffled']
    kinds = np.array(kinds)
    task = Task(
      name=self.task_name,
      sequences=[gene.bases for gene in genes for _ in range(2)],
      labels=(kinds == 'positive').astype(np.int64),
      split=np.repeat(split, 2),
      metric=self.metric,
      partners=partners,
      kind=records.CDS,
      partner_kind=records.PROTEIN,
      genetic_code=self.genetic_code,
      groups=np.repeat(np.arange(len(genes)), 2),
      notes=notes,
    )
    return task, kinds

  def _genes(self) -> tuple[list[Gene], tuple[str, ...]]:
    """Genes to take, and notes on those that are not."""
    genes, num_incomplete, num_long = [], 0, 0
    for header, letters in fasta.read_letters(Path(self.path)):
      name = header.split()[0]
      bases = table.encode_bases(letters, f'{self.path}: record {name!r}')
      residues = _protein(bases, self.genetic_code)
      if residues is None:
        num_incomplete += 1
      elif self.max_bases is not None and bases.size > self.max_bases:
        num_long += 1
      else:
        genes.append(Gene(name, bases, residues))
    if len(genes) < 2 * _NEIGHBOURS:
      raise InputError(
        f'{self.path}: {len(genes)} complete CDS to pair; check the genetic '
        'code and max_bases'
      )
    notes = []
    if num_incomplete:
      notes.append(
        f'{num_incomplete:,} records that are no complete CDS left out'
      )
    if num_long:
      notes.append(f'{num_long:,} CDS above {self.max_bases:,} bases left out')
    return genes, tuple(notes)

  def _edit(
    self,
    residues: UInt8[np.ndarray, 'm'],
    composition: Float[np.ndarray, 'residue'],
    rng: np.random.Generator,
  ) -> UInt8[np.ndarray, '_']:
    """A copy with a share of its residues edited, the first left alone."""
    number = max(1, round(self.changed * residues.size))
    place = 1 + rng.permutation(residues.size - 1)[:number]
    edit = self.edits[rng.integers(len(self.edits))]
    if edit == 'deletion':
      return np.delete(residues, place)
    new = rng.choice(_NUM_COMMON, place.size, p=composition).astype(np.uint8)
    if edit == 'insertion':
      return np.insert(residues, place, new)
    edited = residues.copy()
    same = new == edited[place]
    while same.any():
      new[same] = rng.choice(_NUM_COMMON, int(same.sum()), p=composition)
      same = new == edited[place]
    edited[place] = new
    return edited


def _protein(
  bases: UInt8[np.ndarray, 'n'], genetic_code: int
) -> UInt8[np.ndarray, 'm'] | None:
  """Residues of a complete CDS without its stop; None if it is not one."""
  code = central_dogma.genetic_code(genetic_code)
  ids = central_dogma.codon_ids(bases)
  is_whole = bases.size % 3 == 0 and ids.size > 2
  if not is_whole or (ids == central_dogma.AMBIGUOUS_CODON).any():
    return None
  if not code.starts[ids[0]] or not code.stops[ids[-1]]:
    return None
  residues = central_dogma.translate(
    bases, genetic_code, is_complete_start=True
  )[:-1]
  return None if (residues == central_dogma.STOP).any() else residues


def _composition(
  proteins: list[np.ndarray],
) -> Float[np.ndarray, 'residue']:
  """Share of each of the twenty residues, none of them nought."""
  counts = 1 + np.bincount(np.concatenate(proteins), minlength=_NUM_COMMON)
  return counts / counts.sum()


def _strangers(
  genes: list[Gene], split: Shaped[np.ndarray, 'e'], rng: np.random.Generator
) -> Int[np.ndarray, 'e']:
  """For each gene another of its split, near in length, of another protein."""
  lengths = np.array([gene.residues.size for gene in genes])
  strangers = np.zeros(len(genes), np.int64)
  for name in np.unique(split):
    members = np.flatnonzero(split == name)
    members = members[np.argsort(lengths[members], kind='stable')]
    for rank, index in enumerate(members):
      low = max(0, min(rank - _NEIGHBOURS, members.size - 2 * _NEIGHBOURS - 1))
      near = members[low : low + 2 * _NEIGHBOURS + 1]
      others = [
        other
        for other in near
        if not np.array_equal(genes[other].residues, genes[index].residues)
      ]
      if not others:
        raise InputError(
          f'{name}: no other protein near {genes[index].name!r} in length; '
          'take more genes'
        )
      strangers[index] = others[rng.integers(len(others))]
  return strangers


def translate_and_compare(task: Task) -> Int[np.ndarray, 'e']:
  """What the rule says of each pair: 1 where both sides read alike."""
  predicted = []
  for bases, codons in zip(task.sequences, task.partners or (), strict=True):
    residues = _protein(bases, task.genetic_code)
    written = central_dogma.translate(codons, task.genetic_code)
    predicted.append(residues is not None and np.array_equal(residues, written))
  return np.array(predicted, np.int64)


def accuracy_by_kind(
  kinds: Shaped[np.ndarray, 'e'],
  truth: Int[np.ndarray, 'e'],
  predicted: Int[np.ndarray, 'e'],
) -> dict[str, float]:
  """Share of right answers among each of `KINDS` that occurs."""
  return {
    kind: float((truth == predicted)[kinds == kind].mean())
    for kind in KINDS
    if (kinds == kind).any()
  }
