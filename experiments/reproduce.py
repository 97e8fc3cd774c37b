"""Fills a table of a paper from runs, beside what was published.

  python -m experiments.reproduce lifecode/three_omics --data=DIR --out=DIR \
      [--tier=smoke|cpu|gpu|pod]

A table is a file below experiments/tables: which data sets and runs it needs,
its tasks, and published values with their source. Labelled data that are not
below DIR are named, with where to get them. Everything lies below OUT and is
made once: the same command goes on where it was stopped, one cell after
another; tables of one OUT share data sets and runs. OUT/tables/TABLE holds the
result: table.md, table.png and results.json. Exit codes are those of
`experiments.run`.
"""

import hashlib
import importlib
import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from absl import flags
from tqdm import tqdm

from experiments import command_line, common, run, table_page

TIERS = ('smoke', 'cpu', 'gpu', 'pod')
USAGE = (
  'usage: python -m experiments.reproduce TABLE --data=DIR --out=DIR '
  '[--tier=smoke|cpu|gpu|pod]'
)

Table = Mapping[str, Any]
Cell = dict[str, Any]


def main(argv: Sequence[str]) -> int:
  """The whole flow; returns the exit code."""
  from data_pipelines.errors import InputError

  try:
    table, out = _read(argv)
    code = _prepare(table, out) or _train(table, out)
    if code:
      return code
    cells = list(_cells(table, out))
  except (common.ConfigError, InputError) as error:
    return run.complain(error)
  print(table_page.write(table, cells, _folder(table, out), ' '.join(argv[1:])))
  return 0


def _read(argv: Sequence[str]) -> tuple[Table, pathlib.Path]:
  values = flags.FlagValues()
  define = {'flag_values': values}
  flags.DEFINE_string('data', None, 'Folder of the labelled data.', **define)
  flags.DEFINE_string('out', None, 'Folder for all that is made.', **define)
  flags.DEFINE_enum('tier', 'cpu', TIERS, 'How large a run.', **define)
  try:
    rest = values([*argv])[1:]
  except flags.Error as error:
    raise common.ConfigError(f'{error}; {USAGE}') from error
  if len(rest) != 1 or not values.data or not values.out:
    raise common.ConfigError(USAGE)
  name = rest[0]
  folder = pathlib.Path(__file__).parent / 'tables'
  known = sorted(
    path.relative_to(folder).with_suffix('').as_posix()
    for path in folder.rglob('*.py')
    if 'def get_table' in path.read_text()
  )
  if name not in known:
    raise common.ConfigError(
      f'there is no table {name}; there are {", ".join(known)}'
    )
  if not pathlib.Path(values.data).is_dir():
    raise common.ConfigError(f'--data={values.data}: there is no such folder')
  module = importlib.import_module(
    f'experiments.tables.{name.replace("/", ".")}'
  )
  out = pathlib.Path(values.out).resolve()
  data = pathlib.Path(values.data).resolve()
  table = module.get_table(data, out, values.tier)
  _check_data(table, data)
  return {'name': name, 'tier': values.tier, **table}, out


def _check_data(table: Table, data: pathlib.Path) -> None:
  """Refuses labelled data that are not there, before anything is made."""
  needs = [
    *table.get('needs', ()),
    *((path, 'the tasks of the table read it') for path in _files(table, data)),
  ]
  missing: dict[pathlib.Path, str] = {}
  for path, what in needs:
    if not path.exists():
      missing.setdefault(path, what)
  if missing:
    path, what = next(iter(missing.items()))
    others = len(missing) - 1
    more = f' (and {others} more are missing)' if others else ''
    raise common.ConfigError(f'{path}: there is no such path{more}; {what}')


def _files(table: Table, data: pathlib.Path) -> Iterator[pathlib.Path]:
  """Every path below `data` that a task names."""
  parts = [entry['task'] for entry in table['tasks'].values()]
  while parts:
    part = parts.pop(0)
    if isinstance(part, Mapping):
      parts += part.values()
    elif isinstance(part, str) and part.startswith(f'{data}/'):
      yield pathlib.Path(part)


def _prepare(table: Table, out: pathlib.Path) -> int:
  """Runs the commands whose results are not there yet."""
  out.mkdir(parents=True, exist_ok=True)
  for step in table['steps']:
    if not (out / step['creates']).exists():
      code = _call(step['module'], step['arguments'])
      if code:
        return code
  return 0


def _train(table: Table, out: pathlib.Path) -> int:
  """Trains what the columns need; a finished run is not repeated."""
  for column, seed in _runs(table):
    arguments = _run_arguments(table, out, column, seed)
    if _is_finished(arguments, _workdir(out, column, seed)):
      continue
    code = _call('experiments.run', arguments)
    if code:
      return code
  return 0


def _runs(table: Table) -> list[tuple[str, int]]:
  return [(c, s) for s in table['seeds'] for c in table['runs']]


def _workdir(out: pathlib.Path, column: str, seed: int) -> pathlib.Path:
  return out / 'runs' / f'{column}-{seed}'


def _run_arguments(
  table: Table, out: pathlib.Path, column: str, seed: int
) -> list[str]:
  wanted = table['runs'][column]
  overrides = {**wanted['overrides'], 'seed': seed, 'data.seed': seed}
  return [
    f'--config={wanted["config"]}',
    f'--workdir={_workdir(out, column, seed)}',
    *(f'--config.{key}={value}' for key, value in overrides.items()),
  ]


def _is_finished(arguments: Sequence[str], workdir: pathlib.Path) -> bool:
  path = workdir / 'finished.json'
  if not path.exists():
    return False
  config, _, _ = command_line.read_flags(['experiments.run', *arguments])
  if json.loads(path.read_text())['config'] != config:
    raise common.ConfigError(
      f'{workdir}: a run of another configuration than the table asks for; '
      'give another --out, or remove that folder'
    )
  return True


def _call(module: str, arguments: Sequence[str]) -> int:
  """Runs a module of ours as a process of its own; its output is shown."""
  command = [sys.executable, '-m', module, *map(str, arguments)]
  print('$ python -m', module, *map(str, arguments), flush=True)
  return subprocess.run(command, check=False).returncode


def _cells(table: Table, out: pathlib.Path) -> Iterator[Cell]:
  """Every cell, from its file or computed."""
  for name, entry in table['tasks'].items():
    common.check(entry['task'], f'tasks.{name}')
  wanted = list(_wanted(table, out))
  evaluator = common.build(table['cells'], 'cells')
  contexts: dict[tuple[str, int], Any] = {}
  tasks: dict[str, Any] = {}
  for cell in tqdm(wanted, desc='cells', unit='cell', disable=None):
    path = (
      _folder(table, out)
      / 'cells'
      / cell['task']
      / f'{cell["column"]}-{cell["seed"]}.json'
    )
    key = hashlib.sha256(
      json.dumps([cell, table['cells']], sort_keys=True).encode()
    ).hexdigest()
    found = json.loads(path.read_text()) if path.exists() else {}
    if found.get('key') != key:
      name = cell['task']
      if name not in tasks:
        tasks = {name: _task(table, name)}
      value = _evaluate(evaluator, tasks[name], cell, contexts, out)
      found = {'key': key, 'value': value}
      path.parent.mkdir(parents=True, exist_ok=True)
      run.write_aside(path, json.dumps(found, indent=1))
    yield {**cell, **found['value']}


def _folder(table: Table, out: pathlib.Path) -> pathlib.Path:
  return out / 'tables' / table['name']


def _wanted(table: Table, out: pathlib.Path) -> Iterator[Cell]:
  """What identifies each cell, task by task: its inputs, to the weights."""
  trained_on = {}
  if folder := table.get('contaminated_by'):
    data_hash = _of_contamination('data_hash', folder)
    trained_on = {'folder': folder, 'data': data_hash}
  for name, entry in table['tasks'].items():
    what = {'task': name, 'entry': entry}
    yield {**what, 'column': 'kmer', 'seed': 0}
    if 'rule' in entry:
      yield {**what, 'column': 'rule', 'seed': 0}
    if trained_on:
      yield {**what, 'column': table_page.CONTAMINATION, 'seed': 0} | trained_on
    for column, seed in _runs(table):
      workdir = _workdir(out, column, seed)
      finished = json.loads((workdir / 'finished.json').read_text())
      weights = finished['summary']['parameters_sha256']
      if column == table['random_weights_of']:
        model = finished['config']['objective']['model']
        random = {'column': 'random_weights', 'of': column, 'model': model}
        yield {**what, **random, 'seed': seed}
      yield {**what, 'column': column, 'seed': seed, 'weights': weights}


def _of_contamination(function: str, folder: str, **filled_in: Any) -> Any:
  name = f'data_pipelines.contamination:{function}'
  called = {'name': name, 'folder': folder}
  return common.build(called, 'contaminated_by', **filled_in)


def _task(table: Table, name: str) -> Any:
  """The labelled data, with what its reader says of them."""
  built = common.build(table['tasks'][name]['task'], f'tasks.{name}')
  # A reader is a function that made the task, or an object that makes it.
  task = built() if callable(built) else built
  for note in getattr(task, 'notes', ()):
    print(f'{name}: {note}', file=sys.stderr)
  return task


def _evaluate(
  evaluator: Any,
  task: Any,
  cell: Cell,
  contexts: dict[tuple[str, int], Any],
  out: pathlib.Path,
) -> Cell:
  column, seed = cell['column'], cell['seed']
  if column == table_page.CONTAMINATION:
    return {column: _of_contamination('check', cell['folder'], task=task)}
  if column == 'kmer':
    return {'metric': task.metric, **evaluator.of_kmers(task)}
  if column == 'rule':
    rule = cell['entry']['rule']
    return {'metric': task.metric, **evaluator.of_rule(task, rule)}
  run_of = cell.get('of', column), seed
  if run_of not in contexts:
    workdir = _workdir(out, *run_of)
    config = json.loads((workdir / 'finished.json').read_text())['config']
    contexts[run_of] = run.train(config, workdir)[1]
  context = contexts[run_of]
  is_random = column == 'random_weights'
  model = context.random_model if is_random else context.model
  return {'metric': task.metric, **evaluator.of_model(task, model)}


if __name__ == '__main__':
  from backbone import memory

  memory.keep_memory()
  # `python -m` imports this file as __main__.
  sys.exit(importlib.import_module('experiments.reproduce').main(sys.argv))
