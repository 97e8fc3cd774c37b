"""RNA and proteins that bind: no protein in two splits."""

import collections

import numpy as np
import pytest

from data_pipelines import central_dogma, records
from data_pipelines.errors import InputError
from data_pipelines.tasks.choose import RandomSplit
from data_pipelines.tasks.pairs import RnaProteinPairs
from data_pipelines.tasks.similar import SimilarProteins
from tests.real_data import data_path


def _words(codons):
  residues = central_dogma.translate(codons, 1).tobytes()
  return {residues[start : start + 5] for start in range(len(residues) - 4)}


def _rpi2241():
  folder = data_path('rna_protein')
  return RnaProteinPairs(
    str(folder / 'RPI2241_pairs.txt'),
    str(folder / 'RPI2241_rna_seq.fa.gz'),
    str(folder / 'RPI2241_protein_seq.fa.gz'),
  )()


def test_rpi2241():
  task = _rpi2241()
  assert task.notes == (
    '78 pairs of RNA with letters other than A C G T U left out',
    '200 pairs that repeat another left out',
  )
  assert len(task.labels) == 4482 - 78 - 200
  splits = collections.defaultdict(set)
  for group, split in zip(task.groups, task.split, strict=True):
    splits[group].add(split)
  assert all(len(found) == 1 for found in splits.values())
  for name in records.SPLITS:
    share = task.labels[task.split == name].mean()
    assert 0.4 < share < 0.6
  assert (task.kind, task.partner_kind) == (records.RNA, records.PROTEIN)


def test_no_test_protein_of_rpi2241_resembles_one_that_is_trained_on():
  task = _rpi2241()
  words = collections.defaultdict(dict)
  for codons, split in zip(task.partners, task.split, strict=True):
    words[split == 'test'][codons.tobytes()] = _words(codons)
  for mine in words[True].values():
    for other in words[False].values():
      smaller = min(len(mine), len(other))
      assert not smaller or len(mine & other) < 0.1 * smaller


def test_proteins_are_alike_by_way_of_a_third():
  chain = ['MKTAYIAKQR', 'MKTAYIVVVV', 'WWWWWIVVVV', 'GGGGGGGGGG', 'MK']
  for proteins in (chain, chain[::-1]):
    assert SimilarProteins(k=4, share=0.2)(proteins) == {
      'MKTAYIAKQR': 'MKTAYIAKQR',
      'MKTAYIVVVV': 'MKTAYIAKQR',
      'WWWWWIVVVV': 'MKTAYIAKQR',
      'GGGGGGGGGG': 'GGGGGGGGGG',
      'MK': 'MK',
    }
  with pytest.raises(InputError, match='share 0'):
    SimilarProteins(share=0.0)


def _read(tmp_path, pairs='p1\tr1\t1\np2\tr1\t0\np1\tr2\t1\n'):
  (tmp_path / 'pairs.txt').write_text(pairs)
  (tmp_path / 'rna.fa').write_text('>r1\nACGU\n>r2\nACIU\n>r3\nGGGU\n')
  (tmp_path / 'proteins.fa').write_text('>p1\nMK\n>p2\nMF\n')
  return RnaProteinPairs(
    str(tmp_path / 'pairs.txt'),
    str(tmp_path / 'rna.fa'),
    str(tmp_path / 'proteins.fa'),
    split=RandomSplit(0.3, 0.4),
  )()


def test_pairs_left_out_are_counted(tmp_path):
  pairs = 'p1\tr1\t1\np2\tr1\t0\np1\tr2\t1\np2\tr1\t0\n'
  task = _read(tmp_path, pairs)
  assert task.labels.tolist() == [1, 0]
  assert task.notes == (
    '1 pairs of RNA with letters other than A C G T U left out',
    '1 pairs that repeat another left out',
  )
  np.testing.assert_array_equal(task.sequences[0], [0, 1, 2, 3])
  assert central_dogma.translate(task.partners[1], 1).tolist() == [10, 4]


def test_contradicting_pairs_are_left_out(tmp_path):
  pairs = 'p1\tr1\t1\np2\tr1\t0\np2\tr3\t1\np2\tr3\t0\n'
  task = _read(tmp_path, pairs)
  assert task.labels.tolist() == [1, 0]
  assert task.notes == (
    '2 pairs with labels that contradict each other left out',
  )


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
