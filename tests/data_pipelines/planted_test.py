"""Simulated genes: what is planted is where it is said to be."""

import numpy as np
import pytest

from data_pipelines import central_dogma
from data_pipelines.errors import InputError
from data_pipelines.genes.gene import cut
from data_pipelines.genes.planted import PlantedEnhancers

SMALL = PlantedEnhancers(num_genes=60, num_contigs=3, noise=0.0)
SITES = ('ACCGGAAGTG', 'AGATAAGGCA')


def test_values_are_made_by_what_is_planted():
  genes = SMALL()
  for gene in genes.genes:
    window = cut(genes, gene, SMALL.reach, SMALL.reach)
    # The enhancer is on the gene's strand, as the window is.
    letters = central_dogma.decode(window.sequence)
    promoter = letters[SMALL.reach - 30 : SMALL.reach - 22]
    num_sites = 0
    for start, end in gene.enhancers:
      ends = (start - gene.anchor, end - 1 - gene.anchor)
      low, high = sorted(gene.strand * x + SMALL.reach for x in ends)
      distance = np.abs(np.array([low, high]) - SMALL.reach)
      assert distance.max() >= SMALL.nearest
      assert distance.min() <= SMALL.farthest
      num_sites = sum(letters[low : high + 1].count(site) for site in SITES)
      assert num_sites
    wanted = 0.5 * (promoter == 'TATAAAAG') + 0.5 * num_sites
    assert gene.value == pytest.approx(wanted)


def test_bound_are_the_sites_of_enhancers_and_decoys_and_nothing_else():
  genes = SMALL()
  for gene in genes.genes:
    window = cut(genes, gene, SMALL.reach, SMALL.reach)
    letters = central_dogma.decode(window.sequence)
    is_bound = np.zeros(window.sequence.size, bool)
    for start, end in (*gene.enhancers, *gene.decoys):
      ends = (start - gene.anchor, end - 1 - gene.anchor)
      low, high = sorted(gene.strand * x + SMALL.reach for x in ends)
      for first in range(low, high, 18):
        assert letters[first : first + 10] in (*SITES, 'CATTGCATCA')
        is_bound[first : first + 10] = True
    assert len(gene.decoys) == SMALL.num_decoys
    np.testing.assert_array_equal(window.bound, is_bound)


def test_it_is_the_same_on_every_call():
  one, two = SMALL(), SMALL()
  assert one.genes == two.genes
  for name, contig in one.contigs.items():
    np.testing.assert_array_equal(contig, two.contigs[name])


def test_distances_are_on_both_sides_and_everywhere_between():
  genes = PlantedEnhancers(num_genes=600, num_contigs=2)()
  middle = np.array(
    [
      gene.strand * ((start + end) / 2 - gene.anchor)
      for gene in genes.genes
      for start, end in gene.enhancers
    ]
  )
  assert 0.4 < (middle > 0).mean() < 0.6
  # Half of them below the geometric mean of the ends.
  assert 0.4 < (np.abs(middle) < np.sqrt(512 * 7_680)).mean() < 0.6


def test_enhancers_must_fit():
  with pytest.raises(InputError, match='farthest 9000: give distances'):
    PlantedEnhancers(farthest=9_000)
  with pytest.raises(InputError, match='num_decoys 99: 14,400 bases'):
    PlantedEnhancers(num_decoys=99)
