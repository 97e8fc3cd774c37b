"""FASTA files whose headers are classes."""

import collections

import pytest

from data_pipelines import records
from data_pipelines.errors import InputError
from data_pipelines.tasks.fasta_classes import FastaClasses
from tests.real_data import data_path


def test_ncrna_families():
  path = data_path('ncrna_13class', 'dataset_nRC_train.fasta.gz')
  task = FastaClasses(str(path), 'ncrna')()
  assert len(task.sequences) == 6160
  assert len(set(task.labels.tolist())) == 13
  assert task.kind == records.RNA
  counts = collections.Counter(task.split.tolist())
  assert (counts['test'], counts['validation']) == (1232, 616)
  splits = collections.defaultdict(set)
  for sequence, split in zip(task.sequences, task.split, strict=True):
    splits[sequence.tobytes()].add(split)
  assert all(len(found) == 1 for found in splits.values())


def _read(tmp_path, text, **changes):
  path = tmp_path / 'classes.fa'
  path.write_text(text)
  return FastaClasses(
    str(path), 'toy', **{'classes': ('a', 'b'), 'min_per_class': 2, **changes}
  )()


def test_labels_count_as_the_classes_stand(tmp_path):
  text = '>b\nAC\n>a\nACG\n>b\nAC\n>a\nAU\n'
  assert _read(tmp_path, text).labels.tolist() == [1, 0, 1, 0]
  assert _read(tmp_path, text, classes=('b', 'a')).labels.tolist() == [
    0,
    1,
    0,
    1,
  ]


@pytest.mark.parametrize(
  'text, said',
  [
    ('>a\nAC\n>c\nAC\n', r"fa: record 2 \('c'\): unknown class.*a, b"),
    ('>a\nAC\n>a\nAG\n>b\nACT\n', r"fa: record 3: class 'b' has 1 records"),
    ('>a\nAC\n>a\nA!\n', r"fa: record 2 \('a'\): illegal letter '!'"),
    ('>a\nAC\n>b\n', r"fa: record 2 \('b'\): empty sequence"),
    ('>a\nAC\n>b\nAC\n>a\nA\n>b\nG\n', r'records 1 and 2 are one sequence'),
    ('', r'fa: no FASTA record'),
  ],
)
def test_bad_records_are_named(tmp_path, text, said):
  with pytest.raises(InputError, match=said) as caught:
    _read(tmp_path, text)
  assert '\n' not in str(caught.value)
