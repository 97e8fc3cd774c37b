"""Tasks cut from a simulated organism; tests are of held-out chromosomes."""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Int

from data_pipelines import records
from data_pipelines.organism import genome, labels
from data_pipelines.tasks import splicing
from data_pipelines.tasks.task import Task
from data_pipelines.tasks.windows import (
  Example,
  examples,
  match_gc,
  site_start,
  sliding,
)

_REGION_WINDOW = 144
_PHASE_WINDOW = 144
_PROMOTER_WINDOW = 144
_EXPRESSION_BEFORE, _EXPRESSION_AFTER = 180, 240

NAMES = (
  'coding_vs_noncoding',
  'codon_phase',
  'coding_strand',
  'splice_donor',
  'splice_acceptor',
  'promoter',
  'expression',
)


@dataclasses.dataclass(frozen=True)
class OrganismTasks:
  """Makes the tasks of an organism, the same on every call.

  Attributes:
    organism: What to simulate.
    seed: Of the choice of windows.
    train: Windows that a task takes at most from training chromosomes.
    validation: The same for validation.
    test: The same for test.
    names: Which tasks, of `NAMES`.
  """

  organism: genome.OrganismConfig = dataclasses.field(
    default_factory=genome.OrganismConfig
  )
  seed: int = 0
  train: int = 1600
  validation: int = 400
  test: int = 2000
  names: tuple[str, ...] = NAMES

  def __post_init__(self):
    if unknown := set(self.names) - set(NAMES):
      raise ValueError(f'unknown tasks {sorted(unknown)}; there are {NAMES}')

  def __call__(self) -> list[Task]:
    return self.of(genome.simulate(self.organism))

  def of(self, organism: labels.Organism) -> list[Task]:
    """The tasks of an organism already made."""
    return [
      self._task(organism, np.random.default_rng([self.seed, index]), name)
      for index, name in enumerate(NAMES)
      if name in self.names
    ]

  def _task(
    self, organism: labels.Organism, rng: np.random.Generator, name: str
  ) -> Task:
    sampler, metric, pooling = _SAMPLERS[name]
    chosen, split = [], []
    for split_name in records.SPLITS:
      found = [
        example
        for chromosome in organism.of_split(split_name)
        for example in sampler(chromosome, rng)
      ]
      balanced = found if metric == 'pearson' else _balance(found, rng)
      order = rng.permutation(len(balanced))[: getattr(self, split_name)]
      chosen += [balanced[i] for i in order]
      split += [split_name] * len(order)
    return Task(
      name=name,
      sequences=[example.sequence() for example in chosen],
      labels=np.array([example.label for example in chosen]),
      split=np.array(split),
      metric=metric,
      pooling=pooling,
    )


def _balance(
  examples: list[Example], rng: np.random.Generator
) -> list[Example]:
  """As many of each class, drawn at random."""
  classes: dict[int, list[Example]] = {}
  for example in examples:
    classes.setdefault(int(example.label), []).append(example)
  size = min(map(len, classes.values()))
  return [
    members[i]
    for _, members in sorted(classes.items())
    for i in rng.choice(len(members), size, replace=False)
  ]


def _exon_windows(
  chromosome: labels.Chromosome, limit: int, rng: np.random.Generator
) -> tuple[Int[np.ndarray, 'inside'], Int[np.ndarray, 'outside']]:
  """Starts of up to `limit` windows inside exons, and of all without coding."""
  is_coding = chromosome.codon_phase != records.PHASE_NONE
  coding = sliding(is_coding, _REGION_WINDOW)
  inside = np.flatnonzero(coding == _REGION_WINDOW)
  inside = rng.choice(inside, min(len(inside), limit), replace=False)
  return inside, np.flatnonzero(coding == 0)


def _coding(
  chromosome: labels.Chromosome, rng: np.random.Generator
) -> list[Example]:
  """Windows inside exons against windows of equal GC without a coding base."""
  length = _REGION_WINDOW
  positive, outside = _exon_windows(chromosome, 1200, rng)
  negative = match_gc(chromosome, positive, outside, length, rng)
  strands = rng.choice([-1, 1], negative.size)
  return [
    *examples(chromosome, positive, chromosome.strand[positive], length, 1),
    *examples(chromosome, negative, strands, length, 0),
  ]


def _strand(
  chromosome: labels.Chromosome, rng: np.random.Generator
) -> list[Example]:
  """Windows inside exons, read on the forward strand: is the gene there?"""
  start, _ = _exon_windows(chromosome, 2400, rng)
  is_forward = chromosome.strand[start] > 0
  return [
    example
    for label in (0, 1)
    for example in examples(
      chromosome,
      start[is_forward == label],
      np.ones(int((is_forward == label).sum()), np.int64),
      _REGION_WINDOW,
      label,
    )
  ]


def _phase(
  chromosome: labels.Chromosome, rng: np.random.Generator
) -> list[Example]:
  """Phase of the first base of the centre unit; class 3 is not coding."""
  half = _PHASE_WINDOW // 2
  size = chromosome.sequence.size
  position = rng.integers(half, size - half, min(size // 20, 8000))
  strand = chromosome.strand[position].astype(np.int64)
  is_free = strand == 0
  strand[is_free] = rng.choice([-1, 1], int(is_free.sum()))
  start = site_start(position, strand, _PHASE_WINDOW)
  phase = chromosome.codon_phase[position]
  return [
    example
    for label in range(4)
    for example in examples(
      chromosome,
      start[phase == label],
      strand[phase == label],
      _PHASE_WINDOW,
      label,
    )
  ]


def _promoter(
  chromosome: labels.Chromosome, rng: np.random.Generator
) -> list[Example]:
  """Windows around a TSS against spacer windows of equal GC."""
  length = _PROMOTER_WINDOW
  coding_genes = [gene for gene in chromosome.genes if gene.coding_exons]
  tss = np.array([gene.tss for gene in coding_genes])
  strands = np.array([gene.strand for gene in coding_genes])
  # The TSS lies 12 to 48 bases before the window's end.
  after = rng.integers(12, 49, tss.size)
  starts = np.where(strands > 0, tss + after - length, tss - after + 1)
  spacer = sliding(chromosome.region == labels.SPACER, length)
  negative = match_gc(
    chromosome, starts, np.flatnonzero(spacer == length), length, rng
  )
  return [
    *examples(chromosome, starts, strands, length, 1),
    *examples(
      chromosome, negative, rng.choice([-1, 1], negative.size), length, 0
    ),
  ]


def _expression(
  chromosome: labels.Chromosome, rng: np.random.Generator
) -> list[Example]:
  """Promoter and the start of the transcript, with the measured level."""
  del rng
  before, after = _EXPRESSION_BEFORE, _EXPRESSION_AFTER
  made = []
  for gene in chromosome.genes:
    forward = gene.tss - before
    backward = gene.tss - after + 1
    start = forward if gene.strand > 0 else backward
    if not gene.coding_exons or start < 0:
      continue
    if start + before + after > chromosome.sequence.size:
      continue
    made.append(
      Example(chromosome, start, gene.strand, before + after, gene.expression)
    )
  return made


_Sampler = Callable[[labels.Chromosome, np.random.Generator], list[Example]]
_SAMPLERS: dict[str, tuple[_Sampler, str, str]] = {
  'coding_vs_noncoding': (_coding, 'mcc', 'mean'),
  'codon_phase': (_phase, 'accuracy', 'centre'),
  'coding_strand': (_strand, 'mcc', 'mean'),
  'splice_donor': (splicing.donor, 'mcc', 'centre'),
  'splice_acceptor': (splicing.acceptor, 'mcc', 'centre'),
  'promoter': (_promoter, 'mcc', 'mean'),
  'expression': (_expression, 'pearson', 'mean'),
}
