"""Measured effects of mutations: variants of one protein, as codons."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from data_pipelines import records
from data_pipelines.errors import InputError
from data_pipelines.readers.compressed import open_text
from data_pipelines.tasks import table
from data_pipelines.tasks.choose import Limits
from data_pipelines.tasks.task import Metric, Task
from data_pipelines.tasks.variants import Coding, VariantWriter, only_record

_SPLIT_OF_FILE = {'train': 'train', 'tune': 'validation', 'stest': 'test'}


@dataclasses.dataclass(frozen=True)
class DeepMutationalScan:
  """A TSV of variants such as 'A108D,N144D', with published split rows.

  Attributes:
    path: Columns `variant` and `score_column`; positions count from 0 after
      the offset of the wild type.
    wild_types: TSV with the columns dataset, wt_offset and wt_aa.
    dataset: Row of `wild_types`.
    splits: Folder of train, tune and stest.txt.gz: 0-based rows of `path`.
    score_column: The measured value.
    coding: How residues become codons.
    limits: How many variants are taken.
    metric: 'spearman' or 'pearson'.
  """

  path: str
  wild_types: str
  dataset: str
  splits: str
  score_column: str = 'score'
  coding: Coding = dataclasses.field(default_factory=Coding)
  limits: Limits = dataclasses.field(default_factory=Limits)
  metric: Metric = 'spearman'

  def __call__(self) -> Task:
    letters, offset, where = self._wild_type()
    columns = ('variant', self.score_column)
    rows = list(table.read(self.path, columns, delimiter='\t'))
    split = self._split(len(rows))
    variants = [
      _mutations(row.text('variant'), letters, offset, row.where)
      for row in rows
    ]
    values = np.array([row.number(self.score_column) for row in rows])
    writer = VariantWriter(self.coding, letters, where)
    where_of = [row.where for row in rows]
    return _task(self, self.dataset, writer, variants, values, split, where_of)

  def _wild_type(self) -> tuple[str, int, str]:
    """Residues, offset of their first position, and where they stand."""
    columns = ('dataset', 'wt_offset', 'wt_aa')
    known = []
    for row in table.read(self.wild_types, columns, delimiter='\t'):
      known.append(row.text('dataset'))
      if known[-1] == self.dataset:
        return row.text('wt_aa'), row.integer('wt_offset'), row.where
    raise InputError(
      f'{self.wild_types}: no dataset {self.dataset!r}; there are '
      f'{", ".join(known)}'
    )

  def _split(self, num_rows: int) -> Shaped[np.ndarray, 'e']:
    """The split of each row, '' for those in none."""
    split = np.full(num_rows, '', '<U10')
    for stem, name in _SPLIT_OF_FILE.items():
      path = f'{self.splits}/{stem}.txt.gz'
      with open_text(Path(path)) as text:
        for row in table.parse(text, path, ('row',), header=['row']):
          index = row.integer('row')
          if not 0 <= index < num_rows:
            raise InputError(
              f'{row.where}: row {index}, but {self.path} has {num_rows:,}'
            )
          if split[index]:
            raise InputError(
              f'{row.where}: row {index} is in {split[index]} as well; keep one'
            )
          split[index] = name
    return split


@dataclasses.dataclass(frozen=True)
class FlipVariants:
  """A split of the FLIP benchmark: whole sequences of one length.

  Attributes:
    archive: Zip of the splits.
    member: CSV in it: columns sequence, target, set, validation.
    wild_type: FASTA of the protein that was mutated, alone in it.
    task_name: Row of a results table.
    coding: How residues become codons.
    limits: How many variants are taken.
    metric: 'spearman' or 'pearson'.
  """

  archive: str
  member: str
  wild_type: str
  task_name: str
  coding: Coding = dataclasses.field(default_factory=Coding)
  limits: Limits = dataclasses.field(default_factory=Limits)
  metric: Metric = 'spearman'

  def __call__(self) -> Task:
    _, letters = only_record(self.wild_type)
    variants, values, split, where_of = [], [], [], []
    name = f'{self.archive}/{self.member}'
    columns = ('sequence', 'target', 'set', 'validation')
    with table.open_member(self.archive, self.member) as text:
      for row in table.parse(text, name, columns):
        variant = row.text('sequence')
        if len(variant) != len(letters):
          raise InputError(
            f'{row.where}: {len(variant)} residues, but the wild type has '
            f'{len(letters)}; remove the row or give its wild type'
          )
        variants.append(
          {
            position: new
            for position, (old, new) in enumerate(
              zip(letters, variant, strict=True)
            )
            if old != new
          }
        )
        values.append(row.number('target'))
        split.append(_flip_split(row))
        where_of.append(row.where)
    writer = VariantWriter(self.coding, letters, self.wild_type)
    return _task(
      self,
      self.task_name,
      writer,
      variants,
      np.array(values),
      np.array(split),
      where_of,
    )


def _flip_split(row: table.Row) -> str:
  is_validation = row.choice('validation', ('True', 'False', '')) == 'True'
  if row.choice('set', ('train', 'test')) == 'test':
    return 'test'
  return 'validation' if is_validation else 'train'


def _mutations(
  variant: str, letters: str, offset: int, where: str
) -> dict[int, str]:
  """New residue by position in the wild type, whose letters must agree."""
  mutations = {}
  for mutation in variant.split(','):
    old, place, new = mutation[:1], mutation[1:-1], mutation[-1:]
    if not place.isdigit():
      raise InputError(
        f'{where}: variant {variant!r}: {mutation!r} is not a letter, a '
        'position and a letter; mend or remove the row'
      )
    position = int(place) - offset
    if not 0 <= position < len(letters):
      raise InputError(
        f'{where}: variant {variant!r}: position {place} is outside the wild '
        f'type ({offset} to {offset + len(letters) - 1}); mend or remove it'
      )
    if letters[position] != old:
      raise InputError(
        f'{where}: variant {variant!r}: the wild type has '
        f'{letters[position]!r} at position {place}, not {old!r}; check the '
        'wild type and its offset'
      )
    if position in mutations:
      raise InputError(
        f'{where}: variant {variant!r}: position {place} is mutated twice; '
        'mend or remove the row'
      )
    mutations[position] = new
  return mutations


def _task(
  config: DeepMutationalScan | FlipVariants,
  name: str,
  writer: VariantWriter,
  variants: Sequence[dict[int, str]],
  values: Shaped[np.ndarray, 'e'],
  split: Shaped[np.ndarray, 'e'],
  where_of: Sequence[str],
) -> Task:
  kept = config.limits.kept(split)
  notes = config.limits.notes(split)
  if num_unused := int((split == '').sum()):
    notes = (f'{num_unused:,} variants are in no split', *notes)
  return Task(
    name=name,
    sequences=[writer.write(variants[i], where_of[i]) for i in kept],
    labels=values[kept],
    split=split[kept],
    metric=config.metric,
    kind=records.PROTEIN,
    genetic_code=config.coding.codons.genetic_code,
    notes=notes,
  )
