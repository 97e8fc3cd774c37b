"""Pairs of CDS and protein: the rule solves them, nothing leaks."""

import collections
import dataclasses

import numpy as np
import pytest

from data_pipelines import central_dogma, records
from data_pipelines.errors import InputError
from data_pipelines.tasks import central_dogma_pairs
from data_pipelines.tasks.central_dogma_pairs import CentralDogmaPairs
from data_pipelines.tasks.choose import Limits
from data_pipelines.tasks.codons import ReverseTranslation
from tests.real_data import data_path


@pytest.fixture(scope='module')
def config():
  return CentralDogmaPairs(
    str(data_path('yeast_s288c', 'S288C.cds.fa.gz')),
    max_bases=900,
    edits=('substitution', 'insertion', 'deletion'),
    limits=Limits(train=300, validation=60),
  )


@pytest.fixture(scope='module')
def made(config):
  return config.with_kinds()


def _proteins(task):
  return [
    central_dogma.translate(codons, task.genetic_code)
    for codons in task.partners
  ]


def test_the_rule_is_always_right(made):
  task, kinds = made
  predicted = central_dogma_pairs.translate_and_compare(task)
  np.testing.assert_array_equal(predicted, task.labels)
  assert central_dogma_pairs.accuracy_by_kind(
    kinds, task.labels, predicted
  ) == {'positive': 1, 'shuffled': 1, 'hard': 1}
  always = central_dogma_pairs.accuracy_by_kind(
    kinds, task.labels, np.ones_like(predicted)
  )
  assert always == {'positive': 1, 'shuffled': 0, 'hard': 0}


def test_half_are_negative_and_half_of_those_hard(made):
  task, kinds = made
  assert task.labels.mean() == 0.5
  assert (kinds == 'hard').sum() == pytest.approx(len(kinds) / 4, rel=0.15)
  assert len(task.notes) == 4
  assert max(sequence.size for sequence in task.sequences) <= 900


def test_no_gene_and_no_protein_is_in_two_splits(made):
  task, kinds = made
  splits = collections.defaultdict(set)
  for bases, protein, split, kind in zip(
    task.sequences, _proteins(task), task.split, kinds, strict=True
  ):
    splits[bases.tobytes()].add(split)
    if kind != 'hard':
      splits[protein.tobytes()].add(split)
  assert all(len(found) == 1 for found in splits.values())
  assert [(task.split == s).sum() for s in ('train', 'validation')] == [
    600,
    120,
  ]


def test_strangers_are_as_long_and_edits_as_many_as_said(made):
  task, kinds = made
  by_gene = collections.defaultdict(dict)
  for protein, kind, group in zip(
    _proteins(task), kinds, task.groups, strict=True
  ):
    by_gene[group][str(kind)] = protein
  unlike = []
  differences = collections.Counter()
  for pair in by_gene.values():
    true = pair['positive']
    if 'shuffled' in pair:
      unlike.append(abs(pair['shuffled'].size / true.size - 1))
      continue
    number = max(1, round(0.1 * true.size))
    difference = pair['hard'].size - true.size
    assert difference in (0, number, -number)
    assert pair['hard'][0] == true[0]
    if not difference:
      assert (pair['hard'] != true).sum() == number
    differences[np.sign(difference)] += 1
  assert np.mean(unlike) < 0.08
  assert min(differences[sign] for sign in (-1, 0, 1)) > 50


def test_codons_are_drawn_afresh(config, made):
  task, kinds = made
  share = [
    np.mean(codons == bases[: codons.size])
    for codons, bases, kind in zip(
      task.partners, task.sequences, kinds, strict=True
    )
    if kind == 'positive'
  ]
  assert 0.7 < np.mean(share) < 0.9
  again, _ = config.with_kinds()
  assert all(map(np.array_equal, again.partners, task.partners))
  other = dataclasses.replace(config, seed=1)()
  assert not all(map(np.array_equal, other.partners, task.partners))


@pytest.mark.parametrize('hard, kind', [(0.0, 'shuffled'), (1.0, 'hard')])
def test_negatives_can_be_of_one_kind(tmp_path, hard, kind):
  rng = np.random.default_rng(0)
  write = ReverseTranslation()
  genes = [
    f'>{i}\nATG{central_dogma.decode(write(letters, "gene"))}TAA\n'
    for i in range(60)
    if (letters := ''.join(rng.choice(list('ACDEFGHIKL'), 20)))
  ]
  (tmp_path / 'cds.fa').write_text(''.join(genes))
  config = CentralDogmaPairs(str(tmp_path / 'cds.fa'), hard=hard)
  task, kinds = config.with_kinds()
  assert set(kinds) == {'positive', kind}
  predicted = central_dogma_pairs.translate_and_compare(task)
  np.testing.assert_array_equal(predicted, task.labels)


def test_bad_settings_and_files_are_refused(tmp_path):
  path = tmp_path / 'cds.fa'
  path.write_text('>a\nATGAAATAA\n>b\nATGAA\n')
  with pytest.raises(InputError, match=r'cds\.fa: 1 complete CDS to pair'):
    CentralDogmaPairs(str(path))()
  path.write_text('>a\nATG!AATAA\n')
  with pytest.raises(InputError, match=r"record 'a': illegal letter '!'"):
    CentralDogmaPairs(str(path))()
  with pytest.raises(InputError, match=r"edits .*'typo'"):
    CentralDogmaPairs(str(path), edits=('typo',))
  with pytest.raises(InputError, match='shares'):
    CentralDogmaPairs(str(path), changed=0.0)
  with pytest.raises(InputError, match='give both the same'):
    CentralDogmaPairs(
      str(path), genetic_code=11, codons=ReverseTranslation(genetic_code=1)
    )


def test_incomplete_records_are_no_proteins():
  def protein(text):
    return central_dogma_pairs._protein(central_dogma.encode(text), 11)

  read = protein('GTGAAATTTTAA')
  assert central_dogma.decode_protein(read) == 'MKF'
  for text in ('AAAAAATTTTAA', 'ATGAAATTT', 'ATGTAATTTTAA', 'ATGNAATTTTAA'):
    assert protein(text) is None
  assert records.AMINO_ACIDS[central_dogma.STOP] == '*'
