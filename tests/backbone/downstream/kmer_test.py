"""The k-mer baseline takes what decides each kind of task."""

import dataclasses

import numpy as np
import pytest

from backbone.downstream import examples as examples_lib
from backbone.downstream import kmer, metrics
from data_pipelines import central_dogma, records
from data_pipelines.tasks import Task
from data_pipelines.tasks.task import NO_LABEL
from tests.backbone.downstream.examples_test import unit_task

BOOTSTRAP = metrics.Bootstrap(num_resamples=50)
# Small, so that a test takes a second.
CONFIG = kmer.KmerConfig(ks=(2, 3), residue_ks=(1,))


def _splits(num):
  return np.array(['train', 'validation', 'test', 'test'])[np.arange(num) % 4]


def _written(residues, rng):
  """Codons of residues, every synonym alike."""
  return central_dogma.reverse_translate(
    residues.astype(np.uint8), 1, policy='uniform', rng=rng
  )


def _proteins(num, length, rng):
  return rng.integers(0, 20, (num, length))


def test_residues_are_found_under_their_codons():
  rng = np.random.default_rng(0)
  proteins = _proteins(600, 30, rng)
  # Leucine has six codons: no k-mer of bases stands for it.
  leucine = records.AMINO_ACIDS.index('L')
  labels = (proteins == leucine).sum(1).astype(np.float64)
  task = Task(
    'leucine',
    [_written(protein, rng) for protein in proteins],
    labels,
    _splits(600),
    'spearman',
    kind=records.PROTEIN,
  )
  score, chosen = kmer.evaluate(task, BOOTSTRAP, CONFIG)
  assert chosen in ('codons', '1-residues')
  assert score.low > 0.95
  as_bases = dataclasses.replace(task, kind=records.GENOME)
  score, chosen = kmer.evaluate(as_bases, BOOTSTRAP, CONFIG)
  assert '-mers' in chosen
  assert score.high < 0.9


def test_words_of_both_strands_are_found_where_a_strand_is_drawn():
  """A word on either strand, in train and in test on another mix of them."""
  rng = np.random.default_rng(0)
  word = np.array([0, 0, 2, 0, 1], np.uint8)
  sequences = list(rng.integers(0, 4, (600, 40)).astype(np.uint8))
  labels = np.arange(600) // 4 % 2
  for i in np.flatnonzero(labels):
    at = rng.integers(35)
    sequences[i][at : at + 5] = word
    if rng.integers(2):
      sequences[i] = central_dogma.reverse_complement(sequences[i])
  task = Task('word', sequences, labels, _splits(600), 'mcc')
  config = kmer.KmerConfig(ks=(5,))
  found = {
    candidate.name: candidate.features
    for candidate in kmer.candidates(examples_lib.of_task(task), config)
  }
  assert list(found) == ['5-mers', '5-mers of both strands']
  turned = dataclasses.replace(
    task,
    sequences=[central_dogma.reverse_complement(s) for s in sequences],
  )
  *_, again = kmer.candidates(examples_lib.of_task(turned), config)
  difference = abs(again.features - found['5-mers of both strands'])
  assert difference.max() < 1e-12
  score, chosen = kmer.evaluate(task, BOOTSTRAP, config)
  assert chosen == '5-mers of both strands'
  assert score.low > 0.5
  # RNA has one.
  rna = dataclasses.replace(task, kind=records.RNA)
  names = [c.name for c in kmer.candidates(examples_lib.of_task(rna), config)]
  assert names == ['5-mers']


def _variants(num, rng):
  """Variants of 20 residues, and the sum of what their mutations do."""
  wild = rng.integers(0, 20, 20)
  effect = rng.normal(size=(20, 20))
  sequences, values = [], []
  for _ in range(num):
    changed = rng.choice(20, 2, replace=False)
    protein = wild.copy()
    protein[changed] = rng.integers(0, 20, 2)
    moved = protein != wild
    values.append(effect[moved, protein[moved]].sum())
    sequences.append(_written(protein, rng))
  return sequences, np.array(values)


def test_mutations_of_a_wild_type_are_additive():
  rng = np.random.default_rng(1)
  sequences, values = _variants(3000, rng)
  task = Task(
    'fitness',
    sequences,
    values,
    _splits(3000),
    'spearman',
    kind=records.PROTEIN,
  )
  score, chosen = kmer.evaluate(task, BOOTSTRAP, CONFIG)
  assert chosen == 'mutations'
  assert score.low > 0.9
  examples = examples_lib.of_task(task)
  strict = dataclasses.replace(CONFIG, max_mutated=0.02)
  names = [found.name for found in kmer.candidates(examples, strict)]
  assert names == ['2-mers', '3-mers', 'codons', '1-residues']


def test_pairs_are_compared_by_residues():
  rng = np.random.default_rng(2)
  proteins = _proteins(800, 40, rng)
  labels = rng.integers(0, 2, 800)
  others = np.where(labels[:, None] == 1, proteins, _proteins(800, 40, rng))
  task = Task(
    'pairs',
    [_written(protein, rng) for protein in proteins],
    labels,
    _splits(800),
    'auroc',
    partners=[_written(protein, rng) for protein in others],
    kind=records.CDS,
    partner_kind=records.PROTEIN,
  )
  score, chosen = kmer.evaluate(task, BOOTSTRAP, CONFIG)
  assert chosen == '1-residues'
  assert score.low > 0.95


def test_a_partner_without_codons_has_kmers():
  rng = np.random.default_rng(3)
  rna = [rng.integers(0, 4, 50).astype(np.uint8) for _ in range(80)]
  labels = np.arange(80) // 4 % 2
  proteins = _proteins(80, 20, rng)
  task = Task(
    'rna_protein',
    [_written(protein, rng) for protein in proteins],
    labels,
    _splits(80),
    'auroc',
    partners=rna,
    kind=records.PROTEIN,
    partner_kind=records.RNA,
  )
  examples = examples_lib.of_task(task)
  found = {c.name: c.features for c in kmer.candidates(examples, CONFIG)}
  assert found['codons'].shape == (80, 64 + 4**4)
  assert found['2-mers'].shape == (80, 4 * 4**2)
  np.testing.assert_allclose(found['codons'].sum(1), 2)


@pytest.mark.parametrize('kind', [records.GENOME, records.PROTEIN])
def test_units_are_read_from_those_around_them(kind):
  task = dataclasses.replace(unit_task(120), kind=kind)
  # What decides is two units to the left.
  for sequence, track in zip(task.sequences, task.labels, strict=True):
    track[2:] = sequence[:-6:3] == 0
    track[:2] = NO_LABEL
  config = dataclasses.replace(CONFIG, unit_window=2)
  score, chosen = kmer.evaluate(task, BOOTSTRAP, config)
  assert chosen == 'codons within 2'
  assert score.value > 0.9
  narrow = dataclasses.replace(CONFIG, unit_window=1)
  assert kmer.evaluate(task, BOOTSTRAP, narrow)[0].value < 0.8


def test_windows_end_with_the_sequence():
  task = Task(
    'one',
    [np.array([0, 0, 1, 4, 0, 0, 0, 0, 2], np.uint8)] * 2,
    np.array([np.zeros(3, int)] * 2 + [None], object)[:2],
    np.array(['test', 'test']),
    'accuracy',
    'unit',
  )
  examples = examples_lib.of_task(task)
  config = kmer.KmerConfig(unit_window=1)
  (found,) = kmer.candidates(examples, config)
  at = [row.nonzero()[0].tolist() for row in found.features.toarray()]
  assert at == [[64 + 1], [1, 128 + 2], [64 + 2]] * 2
