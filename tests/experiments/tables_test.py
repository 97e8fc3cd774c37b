"""Table files, checked as far as can be without training or reading data."""

import importlib
import importlib.util
import pathlib

import pytest

from experiments import command_line, common, reproduce, table_cells
from experiments.tables import tasks
from experiments.tables.lifecode import sources
from tests.real_data import data_path

TABLES = pathlib.Path(reproduce.__file__).parent / 'tables'
NAMES = sorted(
  path.relative_to(TABLES).with_suffix('').as_posix()
  for path in TABLES.rglob('*.py')
  if 'def get_table' in path.read_text()
)
# Tables, and tiers of them, whose labelled data are not in the data folder.
ABSENT = {
  'lifecode/genomic_benchmarks': ('smoke', 'cpu', 'gpu', 'pod'),
  'lifecode/splicing': ('smoke', 'cpu', 'gpu', 'pod'),
  'lifecode/gue': ('gpu', 'pod'),
  'lifecode/rna_protein': ('gpu', 'pod'),
  'lifecode/ablations': ('gpu', 'pod'),
  'gta/human': ('smoke', 'cpu', 'gpu', 'pod'),
  'vqdna/gue': ('gpu', 'pod'),
  'vqdna/tokenizers': ('gpu', 'pod'),
  'vqdna/ablations': ('gpu', 'pod'),
}
TIERS = pytest.mark.parametrize('tier', reproduce.TIERS)
EVERY = pytest.mark.parametrize('name', NAMES)
# Those that compare what runs left, and have no cells.
PAGES = tuple(name for name in NAMES if name.startswith('gta/'))
TABLE = pytest.mark.parametrize(
  'name', [name for name in NAMES if name not in PAGES]
)


def _module(name):
  return importlib.import_module(f'experiments.tables.{name.replace("/", ".")}')


def _table(name, tier, data=pathlib.Path('/data')):
  return _module(name).get_table(data, pathlib.Path('/out'), tier)


@TIERS
@TABLE
def test_tasks_and_cells_name_what_exists(name, tier):
  table = _table(name, tier)
  assert table['title'] and table['note'] and table['seeds'] and table['tasks']
  assert table['random_weights_of'] in table['runs']
  assert set(table['cells']) == set(reproduce.EVALUATIONS)
  for evaluation, cells in table['cells'].items():
    common.check(cells, evaluation)
  for task, entry in table['tasks'].items():
    assert entry['omics'] in ('DNA', 'RNA', 'protein', 'pair')
    assert '/' not in task
    assert common.is_object(entry['task'])
    common.check(entry['task'], task)
    if 'rule' in entry:
      assert common.read_signature(entry['rule'], task).known == ('task',)


@TIERS
@TABLE
def test_runs_take_their_changes_and_are_recognised_when_finished(name, tier):
  for column, wanted in _table(name, tier)['runs'].items():
    config = _config(wanted)
    for key, value in wanted['overrides'].items():
      found = config
      for part in key.split('.'):
        found = found[part]
      assert str(found) == str(value), (column, key)
    optimizer = common.build(config['optimizer'], column)
    optimizer.schedule(config['train']['steps'])


@TIERS
@EVERY
def test_steps_are_commands_that_exist(name, tier):
  for step in _table(name, tier)['steps']:
    spec = importlib.util.find_spec(step['module'])
    assert spec is not None
    source = pathlib.Path(spec.origin).read_text()
    if step['module'] == 'experiments.run':
      _read_command(*step['arguments'])
    else:
      for argument in step['arguments']:
        if argument.startswith('--'):
          flag = argument.removeprefix('--').partition('=')[0]
          assert f"'{flag}'" in source, argument
    assert not pathlib.Path(step['creates']).is_absolute()


@TIERS
@TABLE
def test_published_values_have_a_source_and_a_line(name, tier):
  table = _table(name, tier)
  rows = getattr(_module(name), 'PUBLISHED', ())
  for row in rows:
    assert row.source.endswith('related') and 'Life-Code' not in row.model
    assert -1 <= row.value <= 1
    assert row.source in table['note']
  for task, quotes in table.get('published', {}).items():
    assert task in table['tasks'] or tier == 'smoke'
    assert all(quote['model'] and quote['source'] for quote in quotes)
  for values in table.get('published_columns', {}).values():
    assert set(values) <= set(table['tasks'])


@TIERS
@EVERY
def test_the_data_are_at_hand_or_missed_in_one_line(name, tier):
  data = data_path('README.md').parent.resolve()
  table = _table(name, tier, data)
  if tier not in ABSENT.get(name, ()):
    reproduce._check_data(table, data)
    return
  with pytest.raises(common.ConfigError) as error:
    reproduce._check_data(table, data)
  path, what = next(
    (path, what) for path, what in table['needs'] if not path.exists()
  )
  assert str(path) in str(error.value) and what in str(error.value)


@EVERY
def test_an_empty_data_folder_ends_the_command_at_once(name, tmp_path, capsys):
  data, out = tmp_path / 'data', tmp_path / 'out'
  data.mkdir()
  code = reproduce.main(['reproduce', name, f'--data={data}', f'--out={out}'])
  assert code == 2 and not out.exists()
  lines = capsys.readouterr().err.splitlines()
  assert len(lines) == 1
  assert lines[0].startswith(f'error: {data.resolve()}/')


@pytest.mark.parametrize('name', PAGES)
def test_a_page_compares_columns_that_are_there(name):
  page = _table(name, 'cpu')['page']
  common.check(page, 'page')
  if 'differences' in page:
    columns = {*page['runs'], *page['baselines']}
    for one, other, what in page['differences']:
      assert {one, other} <= columns and what
    folds = {len(folders) for folders in page['runs'].values()}
    assert folds == {len(page['data'])}
  made = {step['creates'] for step in _table(name, 'cpu')['steps']}
  for folders in page['runs'].values():
    is_named = isinstance(folders, dict)
    for folder in folders.values() if is_named else folders:
      wanted = pathlib.Path(folder).relative_to('/out') / 'finished.json'
      assert wanted.as_posix() in made


def test_a_reader_may_make_its_task_at_once_or_when_called(tmp_path):
  for stem in ('train', 'dev', 'test'):
    (tmp_path / f'{stem}.csv').write_text('sequence,label\nACGT,1\nCCGT,0\n')
  whole = {**tasks.classes(tmp_path), 'folder': tmp_path}
  part = tasks.limited(whole, {'train': 1})
  table = {'tasks': {'whole': {'task': whole}, 'part': {'task': part}}}
  assert len(table_cells._task(table, 'whole').labels) == 6
  assert len(table_cells._task(table, 'part').labels) == 5


def test_recomputed_means_are_those_checked_by_hand():
  hand = {
    'lifecode/genomic_benchmarks': {
      'HyenaDNA': (0.8707, 0.8779),
      'GENERator': (0.8993, 0.9071),
      'MergeDNA': (0.9012, 0.9087),
    },
    'lifecode/gue': {
      'DNABERT-2': (0.6680, 0.7212),
      'HybriDNA-7B': (0.7214, 0.7642),
      'MergeDNA': (0.7369, 0.7711),
    },
  }
  for name, models in hand.items():
    module = _module(name)
    for model, values in models.items():
      for weights, value in zip(module.MEANS.values(), values, strict=True):
        found = sources.weighted_mean(module.PUBLISHED, model, weights)
        assert found == pytest.approx(value, abs=1e-4)


def test_the_tiers_of_gue_say_how_much_of_it_they_are():
  assert len(_table('lifecode/gue', 'pod')['tasks']) == 28
  table = _table('lifecode/gue', 'cpu')
  assert len(table['tasks']) == 7 and '7 of the 28 tasks' in table['note']


def test_losses_are_added_one_after_another():
  runs = _table('lifecode/ablations', 'cpu')['runs']
  weights = {c: _config(wanted)['objective'] for c, wanted in runs.items()}
  names = ('translation', 'amino_acid_marginal', 'distillation')
  assert {c: tuple(w[n] for n in names) for c, w in weights.items()} == {
    'mlm': (0, 0, 0),
    'translation': (0.25, 0.25, 0),
    'distillation': (0.25, 0.25, 0.5),
  }


def test_parts_of_the_model_change_one_at_a_time():
  runs = _table('lifecode/ablations_architecture', 'cpu')['runs']
  models = {
    column: _config(wanted)['objective']['model']
    for column, wanted in runs.items()
  }
  base = models.pop('mlm')
  changed = {
    column: [key for key in base if model[key] != base[key]]
    for column, model in models.items()
  }
  assert changed == {
    'lookup64': ['tokenizer'],
    '1to1': ['backbone'],
    '0to1': ['backbone'],
    'no_region_embedding': ['region_embedding'],
  }
  assert models['lookup64']['tokenizer'] == {
    'name': 'lifecode.tokenizers:Lookup',
    'bases': 3,
  }


@pytest.mark.parametrize(
  'size, ratios', [('cpu', (0, 1, 3)), ('350m', (5, 11))]
)
def test_every_ratio_has_the_layers_of_its_size(size, ratios):
  for ratio in ratios:
    config = command_line.load_config(
      'experiments/lifecode/pretrain.py', f'{size},{ratio}to1'
    )
    built = common.build(
      config.objective.model.backbone.to_dict(), 'config.backbone'
    )
    layers = built.pattern * built.num_super_blocks
    assert len(layers) == {'cpu': 4, '350m': 24}[size]
    assert layers.count('delta') == ratio * len(layers) // (ratio + 1)


def test_a_ratio_that_does_not_fit_is_refused():
  with pytest.raises(common.ConfigError, match='5to1 does not divide'):
    command_line.load_config('experiments/lifecode/pretrain.py', 'cpu,5to1')


def _config(wanted):
  """The configuration of a run, as the command line gives it."""
  overrides = wanted['overrides'].items()
  return _read_command(
    f'--config={wanted["config"]}',
    '--workdir=/out/run',
    *(f'--config.{key}={value}' for key, value in overrides),
  )


def _read_command(*arguments):
  config = command_line.read_flags(['run', *arguments]).config
  command_line.validate(config)
  return config


def test_ablations_of_a_vocabulary_change_one_thing_at_a_time():
  table = _table('vqdna/ablations', 'cpu')
  configs = {c: _config(wanted) for c, wanted in table['runs'].items()}
  assert {c['train']['steps'] for c in configs.values()} == {200}
  base = configs.pop('vqdna')['objective']
  changed = {
    column: {key for key in base if config['objective'][key] != base[key]}
    for column, config in configs.items()
  }
  assert changed == {
    'half_codes': {'tokens'},
    'narrow_codes': {'tokens'},
    'stride_3': {'tokens', 'reader', 'masking'},
    'masked_bases': {'tokens', 'hides'},
    'single_tokens': {'masking'},
    'hides_15': {'masking'},
    'hides_40': {'masking'},
    'hybrid': {'backbone'},
  }
