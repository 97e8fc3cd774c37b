"""Windows of genomes by species."""

import dataclasses
import pathlib

import numpy as np
import pytest

from data_pipelines import central_dogma, records
from data_pipelines.errors import InputError
from data_pipelines.tasks.species import SpeciesWindows
from experiments import common
from experiments.tables.vqdna import species as species_table
from tests.real_data import data_path


def _write(path, contigs):
  path.write_text(''.join(f'>{name}\n{text}\n' for name, text in contigs))
  return str(path)


def _letters(rng, size):
  return ''.join('ACGT'[i] for i in rng.integers(0, 4, size))


@pytest.fixture
def texts():
  rng = np.random.default_rng(0)
  return {
    'worm': [('w1', _letters(rng, 2_000)), ('w2', _letters(rng, 900))],
    'alga': [('a', _letters(rng, 3_000)), ('short', 'ACGT')],
  }


@pytest.fixture
def made(texts, tmp_path):
  return SpeciesWindows(
    genomes={
      name: _write(tmp_path / f'{name}.fa', contigs)
      for name, contigs in texts.items()
    },
    length=60,
    task_name='species',
    train=30,
    validation=10,
    test=12,
  )


def test_windows_lie_in_the_part_of_their_split(made, texts):
  task = made()
  assert task.metric == 'accuracy'
  number = {'train': 30, 'validation': 10, 'test': 12}
  part = {'train': (0, 0.6), 'validation': (0.6, 0.8), 'test': (0.8, 1)}
  strands = set()
  for label, name in enumerate(('alga', 'worm')):
    for split in records.SPLITS:
      is_here = (task.labels == label) & (task.split == split)
      assert is_here.sum() == number[split]
      for i in np.flatnonzero(is_here):
        # Contigs in a row, apart by a letter that no window has.
        genome = '|'.join(text for _, text in texts[name])
        size = sum(len(text) for _, text in texts[name])
        found = []
        for sequence in (
          task.sequences[i],
          central_dogma.reverse_complement(task.sequences[i]),
        ):
          letters = ''.join('ACGT'[base] for base in sequence)
          start = genome.find(letters)
          found.append(start - genome[: max(start, 0)].count('|'))
        strands.add(found[0] >= 0)
        first, last = part[split]
        assert int(first * size) <= max(found) <= int(last * size) - 60
  assert strands == {True, False}


def test_the_same_windows_every_time_and_others_with_another_seed(made):
  one, again = made(), made()
  other = dataclasses.replace(made, seed=1)()
  assert all(map(np.array_equal, one.sequences, again.sequences))
  assert not all(map(np.array_equal, one.sequences, other.sequences))


def test_unknown_bases_are_passed_over(made, tmp_path):
  text = 'N' * 5_500 + 'ACGT' * 1_125
  path = _write(tmp_path / 'gaps.fa', [('g', text)])
  genomes = {**made.genomes, 'worm': path}
  task = dataclasses.replace(made, genomes=genomes, train=5)()
  worm = [task.sequences[i] for i in np.flatnonzero(task.labels == 1)]
  assert max(np.mean(window == records.N) for window in worm) <= 0.1


@pytest.mark.parametrize(
  'change, message',
  [
    ({'length': 700}, 'no contig has 700 bases'),
    ({'genomes': {'one': 'x'}}, 'two genomes at least'),
    ({'train': 0}, 'must be positive'),
  ],
)
def test_what_cannot_be_is_one_line(made, change, message):
  with pytest.raises(InputError, match=message) as caught:
    dataclasses.replace(made, **change)()
  assert '\n' not in str(caught.value)


def test_a_genome_of_gaps_is_one_line(made, tmp_path):
  path = _write(tmp_path / 'gaps.fa', [('g', 'N' * 5_000)])
  genomes = {**made.genomes, 'worm': path}
  with pytest.raises(InputError, match=r'gaps\.fa: train: 0 of 30'):
    dataclasses.replace(made, genomes=genomes)()


def test_overlapping_windows_are_one_group(made):
  task = dataclasses.replace(made, test=200)()
  is_test = (task.split == 'test') & (task.labels == 0)
  # A fifth of 3,004 bases in blocks of 120.
  assert 3 <= np.unique(task.groups[is_test]).size <= 7
  for name in ('train', 'validation'):
    others = task.groups[task.split == name]
    assert np.intersect1d(others, task.groups[is_test]).size <= 1


@pytest.mark.parametrize('tier', ['smoke', 'cpu', 'gpu'])
def test_every_task_of_the_table_can_be_made(tier):
  data = data_path('README.md').parent.resolve()
  made = species_table.get_table(data, pathlib.Path('/out'), tier)
  for name, entry in made['tasks'].items():
    task = common.build(entry['task'], name)()
    assert len(np.unique(task.labels)) == 6
    assert np.unique(task.groups).size > 6 * 3


def test_real_genomes():
  folder = data_path('worm_fly_cress_1pct')
  task = SpeciesWindows(
    genomes={
      'worm': str(folder / 'celegans.1pct.fa.gz'),
      'fly': str(folder / 'dmelanogaster.1pct.fa.gz'),
    },
    length=1_024,
    task_name='species_1k',
  )()
  assert len(task.sequences) == 2 * 350
  assert {sequence.size for sequence in task.sequences} == {1_024}
