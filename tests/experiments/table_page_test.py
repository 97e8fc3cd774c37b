"""Test sequences that were trained on stand beside a table, not in it."""

import dataclasses
import json

import numpy as np

from data_pipelines import records
from data_pipelines.builders import omics
from data_pipelines.tasks import Task
from experiments import table_cells, table_page

HERE = 'tests.experiments.table_page_test'


@dataclasses.dataclass(frozen=True)
class Scores:
  """Scores that nobody looks at; of models what they are."""

  encode: str = ''
  finetune: object = None

  def of_kmers(self, task, counts=None):
    del task
    value = 0.5 if counts is None else counts.ks[0] / 10
    return {'value': value, 'low': value - 0.1, 'high': value + 0.1}

  def of_model(self, task, model, *, seed):
    del task, seed
    value = {'value': model, 'low': model, 'high': model}
    return {**value, 'encode': self.encode, 'tuned': self.finetune}


@dataclasses.dataclass(frozen=True)
class Untrained:
  """A model that is a number."""

  start: float

  def init(self, key):
    del key
    return self.start, ()


class Known:
  """Makes a task: one sequence of the genome, a copy, and one too short."""

  def __call__(self) -> Task:
    genome, other = (_bases(i) for i in range(2))
    return Task(
      name='other name',
      sequences=[genome[:80], other, other[:20], other],
      labels=np.zeros(4, np.int64),
      split=np.array(['test', 'test', 'test', 'train']),
    )


def _bases(seed):
  return np.random.default_rng(seed).integers(0, 4, 300, dtype=np.uint8)


def _write(folder, name, sequence):
  record = records.Record(
    name=name,
    sequence=sequence,
    soft_mask=np.zeros(sequence.size, np.bool_),
    kind=records.GENOME,
    codon_phase=np.full(sequence.size, records.PHASE_NONE, np.uint8),
    genetic_code=1,
    amino_acids=np.zeros(0, np.uint8),
    codon_is_sampled=False,
    source='x',
    contig='c',
    start=0,
    end=sequence.size,
    strand=1,
  )
  omics.write({'train': [record]}, folder, name, provenance={})


def _table(folder):
  return {
    'name': 'any',
    'title': 'T',
    'note': 'N',
    'tier': 'smoke',
    'evaluation': 'probe',
    'seeds': (),
    'runs': {},
    'random_weights_of': 'pretrained',
    'cells': {'name': f'{HERE}:Scores'},
    'tasks': {'toy': {'omics': 'DNA', 'task': {'name': f'{HERE}:Known'}}},
    'contaminated_by': str(folder),
  }


def test_a_cell_is_of_the_files_that_its_task_reads(tmp_path):
  (tmp_path / 'folder').mkdir()
  file = tmp_path / 'folder' / 'test.csv'
  file.write_text('sequence,label')
  task = {'task': {'name': 'any:thing', 'folder': str(file.parent)}}
  before = table_cells._stamps(task)
  assert [name for name, _, _ in before] == [str(file)]
  assert table_cells._stamps(task) == before
  file.write_text('sequence,label\nA,1')
  assert table_cells._stamps(task) != before


def test_contamination_is_a_table_of_its_own(tmp_path):
  _write(tmp_path / 'data', 'x', _bases(0))
  table = _table(tmp_path / 'data')
  cells = list(table_cells.compute(table, tmp_path))
  text = table_page.write(table, cells, tmp_path, 'T')
  assert '| task | omics | metric | kmer | published |' in text
  assert (
    '| task | test sequences | exactly in pretraining data | minimizers >= 50% '
    "| exactly in the task's own training set | similar to it |"
  ) in text
  assert '| toy | 3 (1 too short to check) | 1 | 1 | 1 | ' in text
  saved = json.loads((tmp_path / 'results.json').read_text())
  assert [cell['column'] for cell in saved] == ['kmer', 'contamination']
  assert saved[1]['contamination']['sides'][0]['num_exact'] == 1

  # Other data are counted anew; a table that names none has no such lines.
  _write(tmp_path / 'data', 'y', _bases(1))
  cells = list(table_cells.compute(table, tmp_path))
  text = table_page.write(table, cells, tmp_path, 'T')
  assert '| toy | 3 (1 too short to check) | 2 | 2 | 1 | ' in text
  del table['contaminated_by']
  cells = list(table_cells.compute(table, tmp_path))
  assert 'sequences' not in table_page.write(table, cells, tmp_path, 'T')


def test_models_that_no_run_trained_have_a_column(tmp_path):
  """Each under its own `encode`; with published values in columns too."""
  task = {'omics': 'DNA', 'task': {'name': f'{HERE}:Known'}}
  source = {'name': f'{HERE}:Untrained', 'start': 5.0}
  table = {
    **_table(tmp_path),
    'evaluation': 'finetune',
    'seeds': (0, 1),
    'cells': {
      'name': f'{HERE}:Scores',
      'encode': 'of the trained',
      'finetune': {'mode': 'lora'},
    },
    'untrained': {'plain': {'model': source, 'encode': 'its own'}},
    'tasks': {'toy': task, 'other': task},
    'published_columns': {'theirs': {'toy': '0.719?'}},
  }
  del table['contaminated_by']
  cells = list(table_cells.compute(table, tmp_path))
  found = [cell for cell in cells if cell['column'] == 'plain']
  assert [cell['seed'] for cell in found] == [0, 1, 0, 1]
  assert {cell['value'] for cell in found} == {5.0}
  assert {cell['encode'] for cell in found} == {'its own'}
  assert {cell['tuned']['mode'] for cell in found} == {'full'}
  text = table_page.write(table, cells, tmp_path, 'T')
  assert '| task | omics | metric | kmer | plain | theirs |' in text
  assert '| 5.000 [5.000, 5.000] | 0.719? |' in text
  assert '| 5.000 [5.000, 5.000] | - |' in text

  # Of probes there is none.
  probed = list(table_cells.compute({**table, 'evaluation': 'probe'}, tmp_path))
  assert {cell['column'] for cell in probed} == {'kmer'}

  # Another network is another cell.
  source['start'] = 6.0
  again = list(table_cells.compute(table, tmp_path))
  assert {c['value'] for c in again if c['column'] == 'plain'} == {6.0}


def test_counts_that_a_table_names_have_a_column(tmp_path):
  task = {'omics': 'DNA', 'task': {'name': f'{HERE}:Known'}}
  counts = {'name': 'backbone.downstream.kmer:KmerConfig', 'ks': (7,)}
  table = {
    **_table(tmp_path),
    'tasks': {'toy': task},
    'counts': {'7-mers': counts},
  }
  del table['contaminated_by']
  cells = list(table_cells.compute(table, tmp_path))
  found = {cell['column']: cell['value'] for cell in cells}
  assert found == {'kmer': 0.5, '7-mers': 0.7}


def test_tables_share_the_cells_of_equal_inputs(tmp_path):
  cell = {'task': 'toy', 'entry': {'omics': 'DNA'}, 'files': [], 'seed': 0}
  trained = {**cell, 'weights': 'abc'}
  random = {**cell, 'column': 'random_weights', 'model': {'width': 8}}
  probed = {'name': 'Probes', 'probe': {'bootstrap': 10}}
  tuned = {'name': 'FineTunes', 'probe': {'bootstrap': 10}}

  def path(cell, evaluator=probed, **changes):
    return table_cells._path(tmp_path, {**cell, **changes}, evaluator)

  one = path(trained, column='one')
  assert one == path(trained, column='two')
  assert one != path(trained, column='one', weights='abd')
  assert one != path(trained, column='one', seed=1)
  assert one != path(trained, column='one', files=[('a', 1, 2)])
  assert one != path(trained, column='one', evaluator=tuned)
  assert path(random, of='one') == path(random, of='two')
  assert path(random) != path(random, model={'width': 9})
  assert path(random) != path(random, evaluator=tuned)
  counts = path(cell, column='kmer')
  assert counts != path(cell, column='rule')
  assert counts == path(cell, column='kmer', evaluator=tuned)
