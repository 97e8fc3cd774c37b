"""Which species is a window of? Windows of genomes, held out by place."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from data_pipelines import central_dogma, records
from data_pipelines.errors import InputError
from data_pipelines.readers import fasta
from data_pipelines.tasks.task import Metric, Task

# Each contig, from its beginning: what trains, tunes and tests.
_SHARES = {'train': (0.0, 0.7), 'validation': (0.7, 0.8), 'test': (0.8, 1.0)}


@dataclasses.dataclass(frozen=True)
class SpeciesWindows:
  """As many windows of each genome, at random places and on either strand.

  After HyenaDNA's task (arXiv:2306.15794), which holds out chromosomes; here
  the last fifth of every contig tests, so that genomes of one contig serve.

  Attributes:
    genomes: FASTA of each species, plain or gzip; the species in the order of
      their names are the classes.
    length: Bases of a window.
    task_name: Row of a results table.
    train: Windows of each species.
    validation: The same to tune on.
    test: The same to test on; windows of a short genome overlap.
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
    sequences, labels, split = [], [], []
    for label, (_, path) in enumerate(sorted(self.genomes.items())):
      contigs = fasta.read_genome(Path(path)).values()
      rng = np.random.default_rng([self.seed, label])
      for name in records.SPLITS:
        parts = [_part(contig.sequence, name) for contig in contigs]
        regions = [part for part in parts if part.size >= self.length]
        number = getattr(self, name)
        sequences += self._windows(regions, number, rng, f'{path}: {name}')
        labels += [label] * number
        split += [name] * number
    return Task(
      name=self.task_name,
      sequences=sequences,
      labels=np.array(labels),
      split=np.array(split),
      metric=self.metric,
    )

  def _windows(
    self,
    regions: list[np.ndarray],
    number: int,
    rng: np.random.Generator,
    where: str,
  ) -> list[UInt8[np.ndarray, '_']]:
    """Every place is as likely, but for those with too many unknown bases."""
    if not regions:
      raise InputError(
        f'{where}: no contig has {self.length} bases in that part of it; take '
        'a smaller length or a longer assembly'
      )
    places = np.array([r.size - self.length + 1 for r in regions])
    found: list[np.ndarray] = []
    for _ in range(100 * number):
      if len(found) == number:
        break
      at = int(rng.integers(places.sum()))
      which = int(np.searchsorted(np.cumsum(places), at, side='right'))
      start = at - int(places[:which].sum())
      window = regions[which][start : start + self.length]
      if np.mean(window == records.N) <= self.max_unknown:
        is_other = bool(rng.integers(2))
        found.append(
          central_dogma.reverse_complement(window) if is_other else window
        )
    if len(found) < number:
      raise InputError(
        f'{where}: {len(found)} of {number} windows have at most '
        f'{self.max_unknown:.0%} unknown bases; raise max_unknown'
      )
    return found


def _part(
  sequence: UInt8[np.ndarray, 'n'], split: str
) -> UInt8[np.ndarray, '_']:
  first, last = _SHARES[split]
  return sequence[int(first * sequence.size) : int(last * sequence.size)]
