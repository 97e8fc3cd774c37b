"""Cells of tables: each computed once, kept in a file named by its inputs.

Tables that ask for the same thing find each other's: what a column is called
is no input. Nor is the code, so that a page names the commits of its cells.
"""

import hashlib
import json
import pathlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from tqdm import tqdm

from experiments import common, run, table_page

Table = Mapping[str, Any]
Cell = dict[str, Any]


def runs(table: Table) -> list[tuple[str, int]]:
  """Columns that are trained, by seed."""
  return [(c, s) for s in table['seeds'] for c in table['runs']]


def workdir_of(
  table: Table, out: pathlib.Path, column: str, seed: int
) -> pathlib.Path:
  """Where that run is; a run has its own name if several tables have it."""
  name = table['runs'][column].get('run', column)
  return out / 'runs' / f'{name}-{seed}'


def check_tasks(table: Table, out: pathlib.Path) -> None:
  """Reads all labelled data once, before anything is trained for them.

  Data that steps of the table make are read when their cells are due.

  Raises:
    InputError: Some cannot be learnt from.
  """
  evaluator = common.build(table['cells'], 'cells')
  for name, entry in table['tasks'].items():
    common.check(entry['task'], f'tasks.{name}')
    is_made = str(out) in json.dumps(entry['task'])
    # A task that has a cell was read for it.
    if not is_made and not (out / 'cells' / name).exists():
      evaluator.check(_task(table, name))


def compute(table: Table, out: pathlib.Path) -> Iterator[Cell]:
  """Every cell, from its file or computed."""
  from backbone.train import provenance

  wanted = list(_wanted(table, out))
  evaluator = common.build(table['cells'], 'cells')
  models: dict[pathlib.Path, Any] = {}
  tasks: dict[str, Any] = {}
  for cell in tqdm(wanted, desc='cells', unit='cell', disable=None):
    path = _path(out, cell, table['cells'])
    if not path.exists():
      name = cell['task']
      if name not in tasks:
        tasks = {name: _task(table, name)}
        for note in tasks[name].notes:
          print(f'{name}: {note}', file=sys.stderr)
      value = _evaluate(evaluator, tasks[name], cell, models, table, out)
      value['commit'] = provenance.code_version()
      run.write_aside(path, json.dumps(value, indent=1))
    yield {**cell, **json.loads(path.read_text())}


def _path(out: pathlib.Path, cell: Cell, evaluator: Any) -> pathlib.Path:
  """Where the value is: named by what decides it, but for the code.

  The commit that a cell was computed at stands in its file.
  """
  is_model = 'weights' in cell or 'model' in cell
  labels = {'of', 'column'} if 'weights' in cell else {'of'}
  inputs = {name: cell[name] for name in cell.keys() - labels}
  # Fine-tuned models stand beside the controls of the probed ones.
  decides = evaluator if is_model else evaluator.get('probe')
  text = json.dumps([inputs, decides], sort_keys=True)
  name = hashlib.sha256(text.encode()).hexdigest()[:32]
  return out / 'cells' / cell['task'] / f'{name}.json'


def folder_of(table: Table, out: pathlib.Path) -> pathlib.Path:
  """Where the table is."""
  how = '' if table['evaluation'] == 'probe' else f'-{table["evaluation"]}'
  return out / 'tables' / f'{table["name"]}{how}'


def _wanted(table: Table, out: pathlib.Path) -> Iterator[Cell]:
  """What identifies each cell, task by task: its inputs, to the weights."""
  trained_on = {}
  if folder := table.get('contaminated_by'):
    data_hash = _of_contamination('data_hash', folder)
    trained_on = {'folder': folder, 'data': data_hash}
  for name, entry in table['tasks'].items():
    what = {'task': name, 'entry': entry, 'files': _stamps(entry['task'])}
    yield {**what, 'column': 'kmer', 'seed': 0}
    for column, given in table.get('counts', {}).items():
      yield {**what, 'column': column, 'seed': 0, 'counts': given}
    if 'rule' in entry:
      yield {**what, 'column': 'rule', 'seed': 0}
    if trained_on:
      yield {**what, 'column': table_page.CONTAMINATION, 'seed': 0} | trained_on
    for column, seed in runs(table):
      workdir = workdir_of(table, out, column, seed)
      finished = json.loads((workdir / 'finished.json').read_text())
      weights = finished['summary']['parameters_sha256']
      objective = finished['config']['objective']
      # A model may read an artefact of another run, as its vocabulary.
      stamps = _stamps(objective)
      reads = {'reads': stamps} if stamps else {}
      if column == table['random_weights_of']:
        model = objective.get('model', objective)
        random = {'column': 'random_weights', 'of': column, 'model': model}
        yield {**what, **random, **reads, 'seed': seed}
      trained = {'column': column, 'seed': seed, 'weights': weights}
      yield {**what, **trained, **reads}
    # A probe of random filters would be no control.
    is_tuned = table['evaluation'] != 'probe'
    for column, given in table.get('untrained', {}).items() if is_tuned else ():
      for seed in table['seeds']:
        yield {**what, 'column': column, 'seed': seed, 'model': given}


def _stamps(task: Any) -> list[tuple[str, int, int]]:
  """Size and time of every file that a task names, or holds in a folder."""
  found, parts = [], [task]
  while parts:
    part = parts.pop(0)
    if isinstance(part, Mapping):
      parts += part.values()
    elif isinstance(part, str) and pathlib.Path(part).is_absolute():
      path = pathlib.Path(part)
      files = sorted(path.rglob('*')) if path.is_dir() else [path]
      stats = [(str(file), file.stat()) for file in files if file.is_file()]
      found += [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
  return sorted(set(found))


def _of_contamination(function: str, folder: str, **filled_in: Any) -> Any:
  name = f'data_pipelines.contamination:{function}'
  called = {'name': name, 'folder': folder}
  return common.build(called, 'contaminated_by', **filled_in)


def _task(table: Table, name: str) -> Any:
  """The labelled data."""
  built = common.build(table['tasks'][name]['task'], f'tasks.{name}')
  # A reader is a function that made the task, or an object that makes it.
  return built() if callable(built) else built


def _evaluate(
  evaluator: Any,
  task: Any,
  cell: Cell,
  models: dict[pathlib.Path, Any],
  table: Table,
  out: pathlib.Path,
) -> Cell:
  column, seed = cell['column'], cell['seed']
  if column == table_page.CONTAMINATION:
    return {column: _of_contamination('check', cell['folder'], task=task)}
  if 'counts' in cell:
    counts = common.build(cell['counts'], column)
    return {'metric': task.metric, **evaluator.of_kmers(task, counts)}
  if column == 'kmer':
    return {'metric': task.metric, **evaluator.of_kmers(task)}
  if column == 'rule':
    rule = cell['entry']['rule']
    return {'metric': task.metric, **evaluator.of_rule(task, rule)}
  if column in table.get('untrained', {}):
    return _evaluate_untrained(table, task, column, seed)
  workdir = workdir_of(table, out, cell.get('of', column), seed)
  if workdir not in models:
    config = json.loads((workdir / 'finished.json').read_text())['config']
    context = run.train(config, workdir)[1]
    # The rest of a context, a teacher among it, would fill the memory.
    models[workdir] = context.model, context.random_model
  model = models[workdir][column == 'random_weights']
  return {'metric': task.metric, **evaluator.of_model(task, model, seed=seed)}


def _evaluate_untrained(
  table: Table, task: Any, column: str, seed: int
) -> Cell:
  """A model that no run trained, under an `encode` of its own.

  All of it is trained on the task, where others have adapters.
  """
  from backbone.train import state

  given = table['untrained'][column]
  source = common.build(given['model'], f'untrained.{column}')
  cells = {**table['cells'], 'encode': given['encode']}
  if 'finetune' in cells:
    cells['finetune'] = {**cells['finetune'], 'mode': 'full'}
  model, _ = source.init(state.run_keys(seed)[0])
  of_model = common.build(cells, 'cells').of_model(task, model, seed=seed)
  return {'metric': task.metric, **of_model}
