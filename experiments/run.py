"""Runs an experiment: from its configuration to a results table and a report.

  python -m experiments.run --config=FILE[:arg] --workdir=DIR \
      [--config.a.b=value ...]

The same command goes on where an interrupted run stopped, and prints the
results again where it had finished. Exit codes: 0 finished; 2 something to be
mended, in one line (input, configuration, checkpoint, full disk); 3 a loss or
gradient was not finite; 75 stopped by SIGTERM or SIGINT with a checkpoint
written, to be repeated.
"""

import errno
import importlib
import json
import math
import os
import pathlib
import runpy
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags
from ml_collections import config_flags

from experiments import common

USAGE = (
  'usage: python -m experiments.run --config=FILE[:arg] --workdir=DIR '
  '[--config.a.b=value ...]'
)

EXIT_MEND = 2
EXIT_DIVERGED = 3
EXIT_INTERRUPTED = 75

PARTS = common.Signature(
  known=(
    'title',
    'seed',
    'objective',
    'data',
    'optimizer',
    'train',
    'mesh',
    'tables',
  ),
  required=('objective', 'data', 'train'),
)
DEFAULTS = {
  'title': '',
  'seed': 0,
  'optimizer': {'name': 'backbone.train.optim:AdamW'},
  'mesh': {},
  'tables': [],
}


def main(argv: Sequence[str]) -> int:
  """The whole flow; returns the exit code."""
  try:
    config, file, workdir = read_flags(argv)
    validate(config)
    return _run(config, file, workdir, argv)
  except common.ConfigError as error:
    return _complain(error)


def read_flags(
  argv: Sequence[str],
) -> tuple[dict[str, Any], str, pathlib.Path]:
  """Configuration, its file, and the working directory.

  Raises:
    common.ConfigError: The command line does not make sense.
  """
  values = flags.FlagValues()
  flags.DEFINE_string('workdir', None, 'Output.', flag_values=values)
  holder = config_flags.DEFINE_config_file('config', flag_values=values)
  named = [a.split('=', 1)[1] for a in argv if a.startswith('--config=')]
  if len(named) != 1:
    raise common.ConfigError(USAGE)
  file, _, arg = named[0].partition(':')
  # Loaded here first: the flag would wrap the file's own error in a traceback.
  config = load_config(file, arg)
  for override in argv[1:]:
    _check_override(config, override, file)
  try:
    rest = values([*argv])
    config = holder.value.to_dict()
  except (flags.Error, AttributeError, KeyError, TypeError) as error:
    text = error.args[0] if error.args else error
    raise common.ConfigError(f'{file}: {text}; {USAGE}') from error
  if len(rest) > 1 or not values.workdir:
    unexpected = f'unexpected {rest[1]}; ' if len(rest) > 1 else ''
    raise common.ConfigError(unexpected + USAGE)
  plain = json.loads(json.dumps(config))
  return {**DEFAULTS, **plain}, named[0], pathlib.Path(values.workdir)


def load_config(file: str, arg: str) -> Any:
  """Calls `get_config` of an experiment file.

  Raises:
    common.ConfigError: It cannot be read, or refuses its argument.
  """
  if not pathlib.Path(file).is_file():
    raise common.ConfigError(f'{file}: there is no such experiment file')
  try:
    get_config = runpy.run_path(file)['get_config']
    return get_config(arg) if arg else get_config()
  except KeyError as error:
    raise common.ConfigError(f'{file}: has no get_config') from error
  except (ImportError, SyntaxError, TypeError, ValueError) as error:
    raise common.ConfigError(f'{file}: {error}') from error


def _check_override(config: Any, override: str, file: str) -> None:
  if not override.startswith('--config.'):
    return
  path = override.split('=', 1)[0].removeprefix('--config.').split('.')
  for i, key in enumerate(path):
    where = '.'.join(['config', *path[:i]])
    known = config.keys() if hasattr(config, 'keys') else ()
    is_known = common.Signature(tuple(known), ())
    common.check_keys([key], is_known, f'{file}: {where}')
    config = config[key]


def validate(config: Mapping[str, Any]) -> None:
  """Checks every key by syntax trees alone: the first second of a run.

  Raises:
    common.ConfigError: A key is unknown, or one is missing.
  """
  common.check_keys(config.keys(), PARTS, 'config', 'an experiment')
  for part in ('objective', 'data', 'optimizer'):
    if not common.is_object(config[part]):
      raise common.ConfigError(f"config.{part}: needs name='module:Name'")
  data = dict(config['data'])
  prepare = data.pop('prepare', None)
  if prepare:
    common.check(_named(prepare), 'config.data.prepare', filled_in=('out',))
  common.check(config['objective'], 'config.objective')
  common.check(data, 'config.data')
  common.check(config['optimizer'], 'config.optimizer')
  common.check(_run_config(config), 'config.train')
  common.check(_mesh_config(config), 'config.mesh')
  for where, table in _tables(config):
    if not common.is_object(table):
      raise common.ConfigError(f"{where}: needs name='module:Name'")
    common.check(table, where)


def _run(
  config: dict[str, Any], file: str, workdir: pathlib.Path, argv: Sequence[str]
) -> int:
  finished = _read_finished(workdir, config)
  if finished:
    _print_results(workdir, finished)
    return 0

  from backbone.train import checkpoint, loop
  from data_pipelines import errors

  try:
    summary = _train_and_tabulate(config, file, workdir, argv)
  except (errors.InputError, checkpoint.CheckpointError) as error:
    return _complain(error)
  except loop.Diverged as error:
    return _complain(error, EXIT_DIVERGED)
  except OSError as error:
    if error.errno != errno.ENOSPC:
      raise
    return _complain(f'{workdir}: the disk is full')
  except loop.TrainingError as error:
    return _complain(error)
  except loop.Interrupted as error:
    text = f'{error}; the same command goes on from there'
    return _complain(text, EXIT_INTERRUPTED)
  _print_results(workdir, summary)
  return 0


def _train_and_tabulate(
  config: dict[str, Any], file: str, workdir: pathlib.Path, argv: Sequence[str]
) -> dict[str, Any]:
  from backbone.train import loop

  mesh = common.build(_mesh_config(config), 'config.mesh')
  objective = common.build(config['objective'], 'config.objective')
  optimizer = common.build(config['optimizer'], 'config.optimizer')
  run = common.build(_run_config(config), 'config.train')
  tables = [common.build(table, where) for where, table in _tables(config)]
  try:
    optimizer.schedule(run.steps)
  except ValueError as error:
    raise common.ConfigError(f'config.optimizer: {error}') from error
  data = _build_data(config, workdir)

  trained = loop.fit(
    objective,
    data,
    run,
    optimizer=optimizer,
    workdir=workdir,
    mesh=mesh,
    seed=config['seed'],
    config=config,
  )
  context = _context(trained, objective, data, mesh, config['seed'], workdir)
  rows = [row for table in tables for row in table.rows(context)]
  return _finish(config, file, workdir, argv, trained, rows, data, mesh)


def _build_data(config: Mapping[str, Any], workdir: pathlib.Path) -> Any:
  source = dict(config['data'])
  prepare = source.pop('prepare', None)
  if prepare:
    path = workdir / 'data'
    if not path.exists():
      workdir.mkdir(parents=True, exist_ok=True)
      common.build(_named(prepare), 'config.data.prepare', out=path)
    source['path'] = source.get('path') or str(path)
  return common.build(source, 'config.data')


def _context(trained, objective, data, mesh, seed, workdir):
  from flax import nnx

  from backbone.train import evaluate

  return evaluate.Context(
    objective=objective,
    model=nnx.merge(trained.graphdef, trained.params),
    aux=trained.aux,
    random_model=nnx.merge(trained.graphdef, trained.initial_params),
    random_aux=trained.initial_aux,
    data=data,
    mesh=mesh,
    seed=seed,
    workdir=workdir,
  )


def _finish(config, file, workdir, argv, trained, rows, data, mesh):
  from backbone.train import metrics, state
  from experiments import report

  lines = metrics.read_metrics(workdir / 'metrics.jsonl')
  rates = [x['tokens_per_second'] for x in lines if x['split'] == 'train']
  summary = {
    'step': trained.step,
    'loss': next(
      (x['loss'] for x in reversed(lines) if x['split'] == 'validation'), None
    ),
    'tokens_per_second': round(statistics.median(rates), 1) if rates else None,
    'parameters_sha256': state.parameters_sha256(trained.params),
    'workdir': str(workdir),
  }
  rows = [{k: _plain(v) for k, v in row.items()} for row in rows]
  write_aside(workdir / 'results.json', json.dumps(rows, indent=1))
  html = report.render(
    config=config,
    file=file,
    command=' '.join(['python -m experiments.run', *argv[1:]]),
    lines=lines,
    rows=rows,
    summary=summary,
    facts=report.facts(trained, data, mesh),
  )
  write_aside(workdir / 'report.html', html)
  finished = {'config': config, 'summary': summary}
  write_aside(workdir / 'finished.json', json.dumps(finished, indent=1))
  return summary


def _read_finished(
  workdir: pathlib.Path, config: Mapping[str, Any]
) -> dict[str, Any] | None:
  path = workdir / 'finished.json'
  if not path.exists() or not (workdir / 'results.json').exists():
    return None
  finished = json.loads(path.read_text())
  return finished['summary'] if finished['config'] == config else None


def _print_results(workdir: pathlib.Path, summary: Mapping[str, Any]) -> None:
  rows = json.loads((workdir / 'results.json').read_text())
  if rows:
    print(format_table(rows))
  print(f'report: {workdir / "report.html"}')
  print(json.dumps({**summary, 'workdir': str(workdir)}), flush=True)


def format_table(rows: Sequence[Mapping[str, Any]]) -> str:
  """Results as aligned text: a line per task and metric, a column per model."""
  columns = list(dict.fromkeys(row['column'] for row in rows))
  lines: dict[tuple, dict[str, str]] = {}
  for row in rows:
    key = tuple(str(row[k]) for k in ('table', 'task', 'split', 'metric'))
    lines.setdefault(key, {})[row['column']] = format_value(row)
  grid = [['table', 'task', 'split', 'metric', *columns]]
  grid += [[*key, *(c.get(x, '') for x in columns)] for key, c in lines.items()]
  widths = [max(len(line[i]) for line in grid) for i in range(len(grid[0]))]
  text = [
    '  '.join(cell.ljust(w) for cell, w in zip(line, widths, strict=True))
    for line in grid
  ]
  return '\n'.join(line.rstrip() for line in text)


def format_value(row: Mapping[str, Any]) -> str:
  """`0.812 [0.790, 0.834]`, without the interval where there is none."""
  if row['value'] is None:
    return 'n/a'
  text = f'{row["value"]:.3f}'
  if row.get('low') is None or row.get('high') is None:
    return text
  return f'{text} [{row["low"]:.3f}, {row["high"]:.3f}]'


def write_aside(path: pathlib.Path, text: str) -> None:
  """Writes a file whole or not at all."""
  aside = path.with_name(path.name + '.tmp')
  aside.write_text(text)
  os.replace(aside, path)


def _plain(value: Any) -> Any:
  """JSON has no NaN and no numpy."""
  value = value.item() if hasattr(value, 'item') else value
  is_bad = isinstance(value, float) and not math.isfinite(value)
  return None if is_bad else value


def _named(prepare: Any) -> Mapping[str, Any]:
  return {'name': prepare} if isinstance(prepare, str) else prepare


def _run_config(config: Mapping[str, Any]) -> dict[str, Any]:
  return {'name': 'backbone.train.loop:Run', **config['train']}


def _mesh_config(config: Mapping[str, Any]) -> dict[str, Any]:
  return {'name': 'backbone.sharding:make_mesh', **config['mesh']}


def _tables(config: Mapping[str, Any]) -> list[tuple[str, Any]]:
  tables = config['tables']
  if isinstance(tables, Mapping):
    return [(f'config.tables.{k}', v) for k, v in tables.items()]
  return [(f'config.tables[{i}]', v) for i, v in enumerate(tables)]


def _complain(error: Any, code: int = EXIT_MEND) -> int:
  text = ' '.join(str(error).split())
  print(f'error: {text}', file=sys.stderr, flush=True)
  return code


if __name__ == '__main__':
  # `python -m` imports this file as __main__; the errors are those of the
  # imported module.
  sys.exit(importlib.import_module('experiments.run').main(sys.argv))
