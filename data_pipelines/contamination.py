"""Which test sequences are in the data that a model was trained on.

  python -m data_pipelines.contamination --data=DIR [--gue=FOLDER,…] \
      [--fasta=FILE,…]

Prints one line of JSON for each task: how many test sequences are in the
training split of the data sets below DIR as a whole, and how many share at
least half of their minimizers with it; the same of the task's own training
set. With k = 21 a copy has half of its minimizers up to about 3 % of
substitutions, and a third at 5 %. Proteins are compared by residues, as their
codons may be drawn, and only with the CDS and proteins of the data.
"""

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from data_pipelines import records
from data_pipelines.errors import InputError
from data_pipelines.minimizers import TextIndex
from data_pipelines.readers import fasta
from data_pipelines.tasks import Task, gue
from data_pipelines.training_index import (
  Index,
  as_residues,
  data_hash,
  open_index,
)

__all__ = [
  'Contamination',
  'Index',
  'Side',
  'check',
  'data_hash',
  'open_index',
  'report',
]


@dataclasses.dataclass(frozen=True)
class Side:
  """The sequences of a task, or their partners: numbers of test examples.

  Attributes:
    side: 'sequences' or 'partners'.
    kind: One of `records.KINDS`.
    k: Letters in a k-mer: residues of a protein, else bases.
    window: k-mers of which one is a minimizer.
    num_searched: Letters of training data.
    num_test: Test examples.
    num_unchecked: Those without `k + window - 1` known letters in a row: they
      have no minimizer, and are in none of the numbers below.
    num_exact: The whole sequence is in the training data, on either strand.
    num_similar: Of its minimizers at least the threshold is there.
    num_exact_in_task: The whole sequence is in the task's own training set.
    num_similar_in_task: Of its minimizers at least the threshold is there.
  """

  side: str
  kind: str
  k: int
  window: int
  num_searched: int
  num_test: int
  num_unchecked: int
  num_exact: int
  num_similar: int
  num_exact_in_task: int
  num_similar_in_task: int


@dataclasses.dataclass(frozen=True)
class Contamination:
  """What of a task's test set was there to train on.

  Attributes:
    task: Its name.
    threshold: Share of the minimizers from which on a sequence is similar.
    sides: Its sequences, and their partners where there are pairs.
  """

  task: str
  threshold: float
  sides: tuple[Side, ...]


def report(task: Task, index: Index, threshold: float = 0.5) -> Contamination:
  """Compares the test sequences with the index and with the task's training.

  A threshold is above 0 and at most 1.
  """
  if not 0 < threshold <= 1:
    raise InputError(f'threshold={threshold}: give a share above 0, up to 1')
  sides = [_side(task, 'sequences', index, threshold)]
  if task.partners is not None:
    sides.append(_side(task, 'partners', index, threshold))
  return Contamination(task.name, threshold, tuple(sides))


def check(task: Task, folder: str | Path) -> dict[str, Any]:
  """`report` against the data sets below `folder`, as plain values."""
  return dataclasses.asdict(report(task, open_index(folder)))


def main(arguments: list[str]) -> int:
  """Runs the command; returns 2 for what the user has to mend."""
  values = _define_flags()
  try:
    rest = values(arguments)[1:]
    if values.help:
      print(__doc__, values.get_help(), sep='\n')
      return 0
    if rest or not values.data or not (values.gue or values.fasta):
      raise InputError(
        'give --data=DIR, and test sequences as --gue=FOLDER or --fasta=FILE'
        f'{"; unexpected " + rest[0] if rest else ""}'
      )
    index = open_index(values.data, k=values.k, window=values.window)
    for task in _tasks(values):
      found = report(task, index, values.threshold)
      print(json.dumps(dataclasses.asdict(found)), flush=True)
  except (InputError, flags.Error, OSError) as error:
    message = ' '.join(str(error).split())
    print(f'error: {message}', file=sys.stderr)
    return 2
  return 0


def _define_flags() -> flags.FlagValues:
  # Not the global flags: a caller may run the command twice in one process.
  values = flags.FlagValues()
  define = {'flag_values': values}
  flags.DEFINE_string('data', None, 'Folder of the data sets.', **define)
  flags.DEFINE_list('gue', [], 'Folders in the GUE layout.', **define)
  flags.DEFINE_list('fasta', [], 'FASTA files of test sequences.', **define)
  flags.DEFINE_integer('k', 21, 'Bases in a k-mer.', 1, **define)
  flags.DEFINE_integer('window', 11, 'k-mers in a window.', 1, **define)
  flags.DEFINE_float(
    'threshold', 0.5, 'Share of minimizers that counts as similar.', **define
  )
  flags.DEFINE_bool('help', False, 'Show this.', **define)
  return values


def _tasks(values: flags.FlagValues) -> Iterator[Task]:
  for folder in map(Path, values.gue):
    # tf/0 and mouse/0 are two tasks.
    yield gue.load(folder, name='/'.join(folder.parts[-2:]))
  for path in map(Path, values.fasta):
    contigs = fasta.read_genome(path).values()
    yield Task(
      name=path.name,
      sequences=[contig.sequence for contig in contigs],
      labels=np.zeros(len(contigs), np.int64),
      split=np.full(len(contigs), 'test'),
    )


def _side(task: Task, name: str, index: Index, threshold: float) -> Side:
  is_partner = name == 'partners'
  kind = task.partner_kind if is_partner else task.kind
  searched = index.residues if kind == records.PROTEIN else index.bases
  letters = {'train': [], 'validation': [], 'test': []}
  for sequence, split in zip(getattr(task, name), task.split, strict=True):
    is_protein = kind == records.PROTEIN
    letters[split].append(
      as_residues(sequence, task.genetic_code) if is_protein else sequence
    )
  scheme = searched.scheme
  found = searched.search(letters['test'])
  own = TextIndex.build(scheme, letters['train']).search(letters['test'])
  return Side(
    side=name,
    kind=records.KINDS[kind],
    k=scheme.k,
    window=scheme.window,
    num_searched=int((searched.text < scheme.num_letters).sum()),
    num_test=len(letters['test']),
    num_unchecked=int((~found.is_checked).sum()),
    num_exact=int(found.is_contained.sum()),
    num_similar=int((found.share >= threshold).sum()),
    num_exact_in_task=int(own.is_contained.sum()),
    num_similar_in_task=int((own.share >= threshold).sum()),
  )


if __name__ == '__main__':
  sys.exit(main(sys.argv))
