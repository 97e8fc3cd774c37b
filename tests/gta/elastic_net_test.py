"""Expression across people from their variants."""

import numpy as np

from data_pipelines.readers.variants import Haplotypes, Variant
from gta.elastic_net import AcrossPeople, dosages


def _allele(start):
  return Variant(start, np.zeros(1, np.uint8), np.ones(1, np.uint8))


def _people(number=120, variants=12, seed=0):
  """Dosages of variants 10 bases apart, and haplotypes that have them."""
  rng = np.random.default_rng(seed)
  carried = rng.random((number, 2, variants)) < 0.3
  names = [f'p{i}' for i in range(number)]
  found = {
    ('c', name, side): [
      _allele(10 * at) for at in np.flatnonzero(carried[i, side]).tolist()
    ]
    for i, name in enumerate(names)
    for side in (0, 1)
  }
  return Haplotypes(names, found), carried.sum(1)


def test_dosages_count_alleles_of_a_stretch():
  haplotypes, carried = _people()
  found = dosages(haplotypes, 'c', 20, 60)
  wanted = carried[:, 2:6]
  assert found.shape == wanted.shape
  # In whatever order they were met.
  assert sorted(map(tuple, found.T)) == sorted(map(tuple, wanted.T))
  assert dosages(haplotypes, 'other', 0, 100).shape == (120, 0)


def test_deletions_of_other_lengths_are_other_alleles():
  short, long = (
    Variant(4, np.zeros(size, np.uint8), np.zeros(1, np.uint8))
    for size in (2, 3)
  )
  found = {('c', 'a', 0): [short], ('c', 'b', 0): [long]}
  given = dosages(Haplotypes(['a', 'b'], found), 'c', 0, 9)
  assert given.tolist() == [[1, 0], [0, 1]]


def test_a_causal_variant_is_found_in_people_not_seen():
  haplotypes, carried = _people()
  rng = np.random.default_rng(1)
  value = carried[:, 3] + 0.5 * rng.normal(size=120)
  given = dosages(haplotypes, 'c', 0, 200)
  predicted = AcrossPeople()(given, value)
  assert np.corrcoef(predicted, value)[0, 1] > 0.6
  noise = rng.permutation(value)
  nothing = AcrossPeople()(given, noise)
  assert np.corrcoef(nothing + 1e-9 * carried[:, 0], noise)[0, 1] < 0.3


def test_a_population_is_predicted_from_the_others():
  haplotypes, carried = _people()
  value = carried[:, 3].astype(float)
  groups = ['a'] * 80 + ['b'] * 40
  given = dosages(haplotypes, 'c', 0, 200)
  predicted = AcrossPeople()(given, value, groups)
  assert np.corrcoef(predicted[80:], value[80:])[0, 1] > 0.9


def test_without_variants_everyone_is_alike():
  predicted = AcrossPeople()(np.zeros((10, 0)), np.arange(10.0))
  assert (predicted == 4.5).all()
