"""Coding sequences with a measured value each: expression, abundance."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from data_pipelines import records
from data_pipelines.errors import InputError
from data_pipelines.readers import fasta
from data_pipelines.tasks import table
from data_pipelines.tasks.choose import RandomSplit
from data_pipelines.tasks.task import Metric, Task


@dataclasses.dataclass(frozen=True)
class SequenceValues:
  """A CSV file with a column of CDS and one of values.

  Attributes:
    path: The file, plain or gzip.
    task_name: Row of a results table.
    sequence_column: Letters of whole codons.
    value_column: Numbers.
    is_log1p: Whether the label is log(1 + value), for values not yet logged.
    metric: 'pearson' or 'spearman'.
    genetic_code: NCBI table.
    max_bases: Longer CDS are left out and counted; None takes all.
    split: Who trains and who tests; equal sequences stay together.
  """

  path: str
  task_name: str
  value_column: str
  sequence_column: str = 'cds'
  is_log1p: bool = False
  metric: Metric = 'pearson'
  genetic_code: int = 1
  max_bases: int | None = None
  split: RandomSplit = dataclasses.field(default_factory=RandomSplit)

  def __call__(self) -> Task:
    columns = (self.sequence_column, self.value_column)
    found = [
      (row.codons(self.sequence_column), _value(row, self))
      for row in table.read(self.path, columns)
    ]
    return _task(self, found, [])


@dataclasses.dataclass(frozen=True)
class JoinedValues:
  """A CSV file of values by gene, and a FASTA file of CDS.

  A gene is found by any part of a record's header, between blanks, '|' or '/'.
  Left out and counted: rows with an empty value or without a record, and rows
  whose gene is in two records or shares its record with another row.

  Attributes:
    path: The values, plain or gzip.
    sequences: The CDS, plain or gzip.
    task_name: Row of a results table.
    gene_column: Name of the gene.
    value_column: Numbers.
    is_log1p: Whether the label is log(1 + value), for values not yet logged.
    metric: 'pearson' or 'spearman'.
    genetic_code: NCBI table.
    max_bases: Longer CDS are left out and counted; None takes all.
    split: Who trains and who tests; equal sequences stay together.
  """

  path: str
  sequences: str
  task_name: str
  gene_column: str
  value_column: str
  is_log1p: bool = True
  metric: Metric = 'pearson'
  genetic_code: int = 1
  max_bases: int | None = None
  split: RandomSplit = dataclasses.field(default_factory=RandomSplit)

  def __call__(self) -> Task:
    coding, record_of = self._records()
    values: dict[int, list[float]] = {}
    num_empty = num_absent = num_ambiguous = 0
    for row in table.read(self.path, (self.gene_column, self.value_column)):
      if not row.values[self.value_column]:
        num_empty += 1
        continue
      value = _value(row, self)
      places = record_of.get(row.text(self.gene_column), [])
      num_absent += not places
      num_ambiguous += len(places) > 1
      if len(places) == 1:
        values.setdefault(places[0], []).append(value)
    shared = [at for at, several in values.items() if len(several) > 1]
    num_ambiguous += sum(len(values.pop(at)) for at in shared)
    if not values:
      raise InputError(
        f'{self.path}: no {self.gene_column} is in a header of '
        f'{self.sequences}; check that they name genes alike'
      )
    notes = [
      f'{number:,} rows of {Path(self.path).name} left out: {why}'
      for number, why in (
        (num_empty, f'no {self.value_column}'),
        (num_absent, 'no CDS of that name'),
        (num_ambiguous, 'several CDS of that name, or several names of a CDS'),
      )
      if number
    ]
    found = [(coding[at], value) for at, (value,) in sorted(values.items())]
    return _task(self, found, notes)

  def _records(self) -> tuple[list[np.ndarray], dict[str, list[int]]]:
    """The CDS, and where each part of a header occurs."""
    coding: list[np.ndarray] = []
    record_of: dict[str, list[int]] = {}
    for header, letters in fasta.read_letters(Path(self.sequences)):
      where = f'{self.sequences}: record {header.split()[0]!r}'
      bases = table.encode_bases(letters, where)
      if bases.size % 3:
        raise InputError(
          f'{where}: {bases.size} bases are not whole codons; mend or remove '
          'the record'
        )
      for part in set(header.replace('|', ' ').replace('/', ' ').split()):
        record_of.setdefault(part, []).append(len(coding))
      coding.append(bases)
    return coding, record_of


def _value(row: table.Row, config: SequenceValues | JoinedValues) -> float:
  value = row.number(config.value_column)
  if not config.is_log1p:
    return value
  if value < 0:
    raise InputError(
      f'{row.where}: {config.value_column} {value:g} has no log(1 + value) '
      'fit to use; mend the row, or set is_log1p=False'
    )
  return float(np.log1p(value))


def _task(
  config: SequenceValues | JoinedValues,
  found: Sequence[tuple[UInt8[np.ndarray, '_'], float]],
  notes: list[str],
) -> Task:
  limit = config.max_bases
  kept = [pair for pair in found if limit is None or pair[0].size <= limit]
  if len(kept) < len(found):
    number = len(found) - len(kept)
    notes = [*notes, f'{number:,} CDS above {limit:,} bases left out']
  if not kept:
    raise InputError(f'{config.path}: no CDS to take; check it and max_bases')
  return Task(
    name=config.task_name,
    sequences=[sequence for sequence, _ in kept],
    labels=np.array([value for _, value in kept]),
    split=config.split([sequence.tobytes() for sequence, _ in kept]),
    metric=config.metric,
    kind=records.CDS,
    genetic_code=config.genetic_code,
    notes=tuple(notes),
  )
