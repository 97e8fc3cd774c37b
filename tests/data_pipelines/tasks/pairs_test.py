"""RNA and proteins that bind: no protein in two splits."""

import collections

import numpy as np
import pytest

from data_pipelines import central_dogma, records
from data_pipelines.errors import InputError
from data_pipelines.tasks.choose import RandomSplit
from data_pipelines.tasks.pairs import RnaProteinPairs
from tests.real_data import data_path


def test_rpi2241():
  folder = data_path('rna_protein')
  task = RnaProteinPairs(
    str(folder / 'RPI2241_pairs.txt'),
    str(folder / 'RPI2241_rna_seq.fa.gz'),
    str(folder / 'RPI2241_protein_seq.fa.gz'),
  )()
  assert len(task.labels) == 4482 - 78
  assert task.notes == (
    '78 pairs of 38 RNA with letters other than A C G T U left out',
  )
  splits = collections.defaultdict(set)
  groups = collections.defaultdict(set)
  for codons, split, group in zip(
    task.partners, task.split, task.groups, strict=True
  ):
    protein = central_dogma.translate(codons, 1).tobytes()
    splits[protein].add(split)
    groups[protein].add(group)
  assert all(len(found) == 1 for found in splits.values())
  assert all(len(found) == 1 for found in groups.values())
  assert len(groups) == len(set(task.groups.tolist()))
  for name in records.SPLITS:
    share = task.labels[task.split == name].mean()
    assert 0.4 < share < 0.6
  assert (task.kind, task.partner_kind) == (records.RNA, records.PROTEIN)


def _read(tmp_path, pairs='p1\tr1\t1\np2\tr1\t0\np1\tr2\t1\n'):
  (tmp_path / 'pairs.txt').write_text(pairs)
  (tmp_path / 'rna.fa').write_text('>r1\nACGU\n>r2\nACIU\n')
  (tmp_path / 'proteins.fa').write_text('>p1\nMK\n>p2\nMF\n')
  return RnaProteinPairs(
    str(tmp_path / 'pairs.txt'),
    str(tmp_path / 'rna.fa'),
    str(tmp_path / 'proteins.fa'),
    split=RandomSplit(0.3, 0.4),
  )()


def test_pairs_of_unreadable_rna_are_counted(tmp_path):
  task = _read(tmp_path)
  assert task.labels.tolist() == [1, 0]
  assert task.notes[0].startswith('1 pairs of 1 RNA')
  np.testing.assert_array_equal(task.sequences[0], [0, 1, 2, 3])
  assert central_dogma.translate(task.partners[1], 1).tolist() == [10, 4]


@pytest.mark.parametrize(
  'pairs, said',
  [
    ('p1\tr1\t1\np9\tr1\t0\n', r"txt:2: 'p9' is not in .*proteins\.fa"),
    ('p1\tr9\t1\n', r"txt:1: 'r9' is not in .*rna\.fa"),
    ('p1\tr1\t2\n', r"txt:1: label '2'; expected '0' or '1'"),
    ('p1\tr1\n', r"txt:1: label ''"),
    ('p1\tr1\t1\t1\n', r'txt:1: more fields'),
  ],
)
def test_bad_pairs_are_named(tmp_path, pairs, said):
  with pytest.raises(InputError, match=said) as caught:
    _read(tmp_path, pairs)
  assert '\n' not in str(caught.value)
