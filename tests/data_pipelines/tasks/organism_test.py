"""Tasks of the organism: labels can be read off the windows."""

import numpy as np
import pytest

from data_pipelines import central_dogma, organism
from data_pipelines.tasks.organism import OrganismTasks

CONFIG = organism.OrganismConfig(
  train_chromosomes=(120_000,),
  validation_chromosomes=(60_000,),
  test_chromosomes=(60_000,),
)


@pytest.fixture(scope='module')
def made():
  return organism.simulate(CONFIG)


@pytest.fixture(scope='module')
def tasks(made):
  return {task.name: task for task in OrganismTasks(CONFIG).of(made)}


def _contains(sequences, chromosomes):
  texts = []
  for chromosome in chromosomes:
    forward = central_dogma.decode(chromosome.sequence)
    reverse = central_dogma.decode(
      central_dogma.reverse_complement(chromosome.sequence)
    )
    texts += [forward, reverse]
  return [
    any(central_dogma.decode(sequence) in text for text in texts)
    for sequence in sequences
  ]


def test_every_task_has_every_split_and_whole_units(tasks):
  assert len(tasks) >= 5
  for task in tasks.values():
    assert set(task.split) == {'train', 'validation', 'test'}
    assert all(sequence.size % 3 == 0 for sequence in task.sequences)


def test_classes_are_balanced(tasks):
  for task in tasks.values():
    if task.is_regression:
      continue
    for split in ('train', 'validation', 'test'):
      counts = np.bincount(task.labels[task.split == split])
      assert counts.min() > 0.7 * counts.max()


def test_test_windows_come_from_held_out_chromosomes(made, tasks):
  for task in tasks.values():
    at = np.flatnonzero(task.split == 'test')[:10]
    windows = [task.sequences[i] for i in at]
    assert all(_contains(windows, made.of_split('test')))
    assert not any(_contains(windows, made.of_split('train')))


@pytest.mark.parametrize(
  'name, at, pair', [('splice_donor', 72, 'GT'), ('splice_acceptor', 71, 'AG')]
)
def test_sites_and_decoys_share_the_dinucleotide(tasks, name, at, pair):
  for sequence in tasks[name].sequences:
    assert central_dogma.decode(sequence[at : at + 2]) == pair


def test_coding_windows_have_an_open_frame(tasks):
  task = tasks['coding_vs_noncoding']
  is_open = []
  for sequence in task.sequences:
    frames = [
      central_dogma.translate(sequence[f : f + 141], 1) for f in range(3)
    ]
    stop = central_dogma.STOP
    is_open.append(any((frame[:-1] != stop).all() for frame in frames))
  is_open = np.array(is_open)
  assert is_open[task.labels == 1].mean() > 0.99
  assert is_open[task.labels == 0].mean() < 0.5


def test_coding_strand_tells_where_the_open_frame_is(tasks):
  task = tasks['coding_strand']
  stop = central_dogma.STOP

  def open_frames(sequence):
    frames = [
      central_dogma.translate(sequence[f : f + 141], 1) for f in range(3)
    ]
    return sum((frame[:-1] != stop).all() for frame in frames)

  on_strand = np.array(
    [
      open_frames(central_dogma.reverse_complement(s) if label == 0 else s)
      for s, label in zip(task.sequences, task.labels, strict=True)
    ]
  )
  assert (on_strand > 0).mean() > 0.99


def test_promoter_negatives_match_gc(tasks):
  task = tasks['promoter']
  gc = np.array([np.isin(s, (1, 2)).mean() for s in task.sequences])
  assert abs(gc[task.labels == 1].mean() - gc[task.labels == 0].mean()) < 0.02


def test_phase_labels_follow_the_codon_bias(tasks):
  task = tasks['codon_phase']
  ends = []
  for sequence, label in zip(task.sequences, task.labels, strict=True):
    if label < 3:
      # The codon that holds the first base of the centre unit.
      start = 72 - label
      ends.append(central_dogma.translate(sequence[start : start + 3], 1)[0])
  assert np.mean(np.array(ends) == central_dogma.STOP) < 0.02


def test_deterministic(made, tasks):
  again = {task.name: task for task in OrganismTasks(CONFIG).of(made)}
  other = {task.name: task for task in OrganismTasks(CONFIG, seed=1).of(made)}
  for name, task in tasks.items():
    np.testing.assert_array_equal(again[name].labels, task.labels)
    assert all(map(np.array_equal, again[name].sequences, task.sequences))
  first = tasks['codon_phase'].sequences[0]
  assert not np.array_equal(other['codon_phase'].sequences[0], first)
