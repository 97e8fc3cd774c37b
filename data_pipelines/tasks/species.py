"""Which species is a window of? Windows of genomes, held out by place."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from data_pipelines import central_dogma, records
from data_pipelines.errors import InputError
from data_pipelines.readers import fasta
from data_pipelines.tasks.task import Metric, Task

# Of a genome, its contigs in a row: what trains, tunes and tests.
_SHARES = {'train': (0.0, 0.6), 'validation': (0.6, 0.8), 'test': (0.8, 1.0)}


@dataclasses.dataclass(frozen=True)
class SpeciesWindows:
  """As many windows of each genome, at random places and on either strand.

  After HyenaDNA's task (arXiv:2306.15794), which holds out chromosomes; here
  the last fifth of a genome tests and the fifth before it tunes, its contigs in
  a row, so that genomes of one contig serve. Windows that begin within twice
  their length of each other are one group: of a short genome they overlap.

  Attributes:
    genomes: FASTA of each species, plain or gzip; the species in the order of
      their names are the classes.
    length: Bases of a window.
    task_name: Row of a results table.
    train: Windows of each species.
    validation: The same to tune on.
    test: The same to test on.
    max_unknown: Largest share of N in a window.
    metric: What is reported.
    seed: Of the draw.
  """

  genomes: Mapping[str, str]
  length: int
  task_name: str
  train: int = 200
  validation: int = 50
  test: int = 100
  max_unknown: float = 0.1
  metric: Metric = 'accuracy'
  seed: int = 0

  def __post_init__(self):
    if len(self.genomes) < 2:
      raise InputError(f'{self.task_name}: give two genomes at least')
    if min(self.length, self.train, self.validation, self.test) < 1:
      raise InputError(
        f'{self.task_name}: length, train, validation and test must be positive'
      )

  def __call__(self) -> Task:
    sequences, labels, split, groups = [], [], [], []
    for label, (_, path) in enumerate(sorted(self.genomes.items())):
      genome = fasta.read_genome(Path(path)).values()
      contigs = [contig.sequence for contig in genome]
      rng = np.random.default_rng([self.seed, label])
      for name in records.SPLITS:
        number = getattr(self, name)
        parts = [p for p in _parts(contigs, name) if p[1].size >= self.length]
        windows = self._windows(parts, number, rng, f'{path}: {name}')
        for place, window in windows:
          sequences.append(window)
          groups.append((label, place // (2 * self.length)))
        labels += [label] * number
        split += [name] * number
    return Task(
      name=self.task_name,
      sequences=sequences,
      labels=np.array(labels),
      split=np.array(split),
      metric=self.metric,
      groups=np.unique(groups, axis=0, return_inverse=True)[1].reshape(-1),
    )

  def _windows(
    self,
    parts: list[tuple[int, np.ndarray]],
    number: int,
    rng: np.random.Generator,
    where: str,
  ) -> list[tuple[int, np.ndarray]]:
    """Place in the genome, and bases.

    Every place is as likely, but for those with too many unknown bases.
    """
    if not parts:
      raise InputError(
        f'{where}: no contig has {self.length} bases in that part of it; take '
        'a smaller length or a longer assembly'
      )
    places = np.array([part.size - self.length + 1 for _, part in parts])
    found: list[tuple[int, np.ndarray]] = []
    for _ in range(100 * number):
      if len(found) == number:
        break
      at = int(rng.integers(places.sum()))
      which = int(np.searchsorted(np.cumsum(places), at, side='right'))
      start = at - int(places[:which].sum())
      first, part = parts[which]
      window = part[start : start + self.length]
      if np.mean(window == records.N) <= self.max_unknown:
        if rng.integers(2):
          window = central_dogma.reverse_complement(window)
        found.append((first + start, window))
    if len(found) < number:
      raise InputError(
        f'{where}: {len(found)} of {number} windows have at most '
        f'{self.max_unknown:.0%} unknown bases; raise max_unknown'
      )
    return found


def _parts(
  contigs: list[np.ndarray], split: str
) -> list[tuple[int, np.ndarray]]:
  """Of each contig what is in the split, with its place in the genome."""
  total = sum(contig.size for contig in contigs)
  first, last = (int(share * total) for share in _SHARES[split])
  found, start = [], 0
  for contig in contigs:
    left, right = (
      min(max(edge - start, 0), contig.size) for edge in (first, last)
    )
    found.append((start + left, contig[left:right]))
    start += contig.size
  return found
