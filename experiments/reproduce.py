"""Fills a table of a paper from runs, beside what was published.

  python -m experiments.reproduce lifecode/three_omics --data=DIR --out=DIR \
      [--tier=smoke|cpu|gpu|pod] [--evaluation=probe|finetune|lora] \
      [--seeds=N]

A table is a file below experiments/tables: which data sets and runs it needs,
its tasks, and published values with their source. Labelled data that are not
below DIR are named, with where to get them. Everything lies below OUT and is
made once: the same command goes on where it was stopped, one cell after
another; tables of one tier share data sets, runs and cells.
OUT/TIER/tables/TABLE holds the result: table.md, table.png and results.json
(TABLE-finetune or TABLE-lora, where encoders or low-rank adapters of them are
trained on the tasks, not read as they are). Each table has its own default, and
its tier a number of seeds, which are pretrained and tuned each by itself.
Exit codes are those of `experiments.run`.
"""

import importlib
import json
import pathlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from absl import flags

from experiments import (
  command_line,
  common,
  run,
  steps,
  table_cells,
  table_page,
)

EVALUATIONS = ('probe', 'finetune', 'lora')
TIERS = ('smoke', 'cpu', 'gpu', 'pod')
USAGE = (
  'usage: python -m experiments.reproduce TABLE --data=DIR --out=DIR '
  '[--tier=smoke|cpu|gpu|pod] [--evaluation=probe|finetune|lora] [--seeds=N]'
)

Table = Mapping[str, Any]


def main(argv: Sequence[str]) -> int:
  """The whole flow; returns the exit code."""
  from backbone.train import checkpoint, state
  from data_pipelines.errors import InputError

  try:
    table, out = _read(argv)
    if 'page' in table:
      return _prepare(table, out) or _write_page(table, out, argv)
    table_cells.check_tasks(table, out)
    code = _prepare(table, out) or _train(table, out)
    if code:
      return code
    cells = list(table_cells.compute(table, out))
  except (
    common.ConfigError,
    InputError,
    checkpoint.CheckpointError,
    state.TrainingError,
  ) as error:
    return run.complain(error)
  print(
    table_page.write(
      table, cells, table_cells.folder_of(table, out), ' '.join(argv[1:])
    )
  )
  return 0


def _write_page(table: Table, out: pathlib.Path, argv: Sequence[str]) -> int:
  """Of a table that compares what its steps have left."""
  from backbone.train import provenance

  stamp = time.strftime('%Y-%m-%d', time.gmtime())
  head = (
    f'{stamp}, commit {provenance.code_version()}, tier {table["tier"]}.\n\n'
    f'```bash\npython -m experiments.reproduce {" ".join(argv[1:])}\n```'
  )
  page = common.build(table['page'], 'page')
  print(page.write(out / 'tables' / table['name'], head))
  return 0


def _read(argv: Sequence[str]) -> tuple[Table, pathlib.Path]:
  values = flags.FlagValues()
  define = {'flag_values': values}
  flags.DEFINE_string('data', None, 'Folder of the labelled data.', **define)
  flags.DEFINE_string('out', None, 'Folder for all that is made.', **define)
  flags.DEFINE_enum('tier', 'cpu', TIERS, 'How large a run.', **define)
  flags.DEFINE_enum(
    'evaluation', None, EVALUATIONS, 'What a cell is.', **define
  )
  flags.DEFINE_integer(
    'seeds', None, 'How many, from 0 on.', lower_bound=1, **define
  )
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
  # Tiers differ in the data they train on, so none finds the other's.
  out = pathlib.Path(values.out).resolve() / values.tier
  data = pathlib.Path(values.data).resolve()
  table = module.get_table(data, out, values.tier)
  _check_data(table, data)
  if 'page' in table:
    if values.evaluation or values.seeds:
      raise common.ConfigError(
        f'{name} has its own evaluation and seeds; leave them out'
      )
    common.check(table['page'], 'page')
    return {'name': name, 'tier': values.tier, **table}, out
  evaluation = values.evaluation or table.get('evaluation', 'probe')
  chosen = {'evaluation': evaluation, 'cells': table['cells'][evaluation]}
  if values.seeds:
    chosen['seeds'] = tuple(range(values.seeds))
  common.check(chosen['cells'], 'cells')
  return {'name': name, 'tier': values.tier, **table, **chosen}, out


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
  parts = [entry['task'] for entry in table.get('tasks', {}).values()]
  while parts:
    part = parts.pop(0)
    if isinstance(part, Mapping):
      parts += part.values()
    elif isinstance(part, str) and part.startswith(f'{data}/'):
      yield pathlib.Path(part)


def _prepare(table: Table, out: pathlib.Path) -> int:
  """Runs the commands whose results are not there yet."""
  missing = [step for step in table['steps'] if not _is_made(step, out)]

  def finish(step: steps.Step) -> None:
    run.write_aside(_record(step, out), _command(step))

  if number := table.get('at_once'):
    return steps.call_together(
      missing, number, lambda step: _record(step, out, 'log'), finish
    )
  for step in missing:
    code = steps.call(step['module'], step['arguments'])
    if code:
      return code
    finish(step)
  return 0


def _is_made(step: steps.Step, out: pathlib.Path) -> bool:
  record = _record(step, out)
  if not ((out / step['creates']).exists() and record.exists()):
    return False
  if record.read_text() != _command(step):
    raise common.ConfigError(
      f'{out / step["creates"]} was made by another command than the table '
      f'asks for; give another --out, or remove it and {record}'
    )
  return True


def _command(step: steps.Step) -> str:
  return json.dumps([step['module'], *map(str, step['arguments'])])


def _record(
  step: steps.Step, out: pathlib.Path, kind: str = 'json'
) -> pathlib.Path:
  return out / 'steps' / f'{step["creates"].replace("/", "-")}.{kind}'


def _train(table: Table, out: pathlib.Path) -> int:
  """Trains what the columns need; a finished run is not repeated."""
  for column, seed in table_cells.runs(table):
    arguments = _run_arguments(table, out, column, seed)
    workdir = table_cells.workdir_of(table, out, column, seed)
    if _is_finished(arguments, workdir):
      continue
    code = steps.call('experiments.run', arguments)
    if code:
      return code
  return 0


def _run_arguments(
  table: Table, out: pathlib.Path, column: str, seed: int
) -> list[str]:
  wanted = table['runs'][column]
  overrides = {**wanted['overrides'], 'seed': seed, 'data.seed': seed}
  return [
    f'--config={wanted["config"]}',
    f'--workdir={table_cells.workdir_of(table, out, column, seed)}',
    *(f'--config.{key}={value}' for key, value in overrides.items()),
  ]


def _is_finished(arguments: Sequence[str], workdir: pathlib.Path) -> bool:
  path = workdir / 'finished.json'
  if not path.exists():
    return False
  config = command_line.read_flags(['experiments.run', *arguments]).config
  if json.loads(path.read_text())['config'] != config:
    raise common.ConfigError(
      f'{workdir}: a run of another configuration than the table asks for; '
      'give another --out, or remove that folder'
    )
  return True


if __name__ == '__main__':
  from backbone import memory

  memory.keep_memory()
  # `python -m` imports this file as __main__.
  sys.exit(importlib.import_module('experiments.reproduce').main(sys.argv))
