"""A FASTA file in which the header of each record is its class."""

import collections
import dataclasses
from pathlib import Path

import numpy as np
from Bio.SeqIO.FastaIO import SimpleFastaParser

from data_pipelines import records
from data_pipelines.errors import InputError
from data_pipelines.readers.compressed import open_text
from data_pipelines.tasks import table
from data_pipelines.tasks.choose import RandomSplit
from data_pipelines.tasks.task import Metric, Task


@dataclasses.dataclass(frozen=True)
class FastaClasses:
  """Makes the task of such a file; equal sequences share a split.

  Attributes:
    path: The file, plain or gzip.
    task_name: Row of a results table.
    classes: The labels allowed, in the order of their numbers; none allows
      all, in alphabetical order.
    min_per_class: A class with fewer records is taken for a misprint.
    metric: What is reported.
    kind: Index into `records.KINDS`.
    split: Who trains and who tests.
  """

  path: str
  task_name: str
  classes: tuple[str, ...] = ()
  min_per_class: int = 10
  metric: Metric = 'mcc'
  kind: int = records.RNA
  split: RandomSplit = dataclasses.field(default_factory=RandomSplit)

  def __call__(self) -> Task:
    names, sequences = [], []
    with open_text(Path(self.path)) as text:
      for header, letters in SimpleFastaParser(text):
        where = f'{self.path}: record {len(names) + 1} ({header!r})'
        if not letters:
          raise InputError(f'{where}: empty sequence; remove the record')
        if self.classes and header not in self.classes:
          raise InputError(
            f'{where}: unknown class; expected {", ".join(self.classes)}'
          )
        names.append(header)
        sequences.append(table.encode_bases(letters, where))
    self._check(names, sequences)
    classes = list(self.classes) or sorted(set(names))
    return Task(
      name=self.task_name,
      sequences=sequences,
      labels=np.array([classes.index(name) for name in names]),
      split=self.split([sequence.tobytes() for sequence in sequences]),
      metric=self.metric,
      kind=self.kind,
    )

  def _check(self, names: list[str], sequences: list[np.ndarray]) -> None:
    """Refuses classes of a few records, and a sequence of two classes."""
    if not names:
      raise InputError(f'{self.path}: no FASTA record in it')
    for name, number in collections.Counter(names).items():
      if number < self.min_per_class:
        raise InputError(
          f'{self.path}: record {names.index(name) + 1}: class {name!r} has '
          f'{number} records, fewer than {self.min_per_class}; mend the header '
          'or remove them'
        )
    first: dict[bytes, int] = {}
    for index, sequence in enumerate(sequences):
      other = first.setdefault(sequence.tobytes(), index)
      if names[other] != names[index]:
        raise InputError(
          f'{self.path}: records {other + 1} and {index + 1} are one sequence '
          f'in two classes, {names[other]!r} and {names[index]!r}; remove one'
        )
