"""Runs an experiment: from its configuration to a results table and a report.

  python -m experiments.run --config=FILE[:arg] --workdir=DIR \
      [--checkpoints=gs://BUCKET/DIR] [--config.a.b=value ...]

The same command goes on where an interrupted run stopped, and prints the
results again where it had finished. Exit codes: 0 finished; 2 something to be
mended, in one line (input, configuration, checkpoint, full disk); 3 a loss or
gradient was not finite; 75 stopped by SIGTERM or SIGINT with a checkpoint
written, or left by another process of the run (docs/pods.md), to be repeated.
"""

import errno
import importlib
import json
import math
import os
import pathlib
import shutil
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from backbone import memory
from experiments import command_line, common, together

# No space, above a quota, above a limit.
_FULL = errno.ENOSPC, errno.EDQUOT, errno.EFBIG
EXIT_MEND = 2
EXIT_DIVERGED = 3
EXIT_INTERRUPTED = together.EXIT_AGAIN


def main(argv: Sequence[str]) -> int:
  """The whole flow; returns the exit code."""
  try:
    given = command_line.read_flags(argv)
    command_line.validate(given.config)
    return _run(given, argv)
  except common.ConfigError as error:
    return complain(error)


def _run(given: command_line.Flags, argv: Sequence[str]) -> int:
  finished = read_finished(given.workdir, given.config)
  if finished:
    _print_results(given.workdir, finished)
    return 0

  is_given = any(value is not None for value in given.processes.values())
  is_together = is_given or together.is_launched()
  if is_together:
    together.watch()

  import jax

  from backbone.train import checkpoint, loop, processes
  from data_pipelines import errors

  try:
    if is_together:
      processes.start(**given.processes)
    summary = _train_and_tabulate(given, argv)
  except (errors.InputError, checkpoint.CheckpointError) as error:
    return complain(error)
  except loop.Diverged as error:
    return complain(error, EXIT_DIVERGED)
  except OSError as error:
    if error.errno not in _FULL:
      raise
    return complain(f'{given.workdir}: the disk is full')
  except (loop.TrainingError, processes.ProcessesError) as error:
    return complain(error)
  except loop.Interrupted as error:
    text = f'{error}; the same command goes on from there'
    return complain(text, EXIT_INTERRUPTED)
  except jax.errors.JaxRuntimeError as error:
    if not processes.is_lost(error):
      raise
    text = f'{error}'.strip().splitlines()[0]
    return complain(f'{together.LOST} ({text})', EXIT_INTERRUPTED)
  if summary:
    _print_results(given.workdir, summary)
  return 0


def _train_and_tabulate(
  given: command_line.Flags, argv: Sequence[str]
) -> dict[str, Any] | None:
  """What the run came to; None in processes but the first."""
  tables = [
    common.build(table, where)
    for where, table in command_line.table_configs(given.config)
  ]
  trained, context = train(given.config, given.workdir, given.checkpoint_dir)
  if context is None:
    return None
  rows = [row for table in tables for row in table.rows(context)]
  return _finish(given, argv, trained, rows, context)


def train(
  config: Mapping[str, Any],
  workdir: pathlib.Path,
  checkpoint_dir: str | None = None,
) -> tuple[Any, Any]:
  """The end of the run and its `Context`; of a finished run, read again.

  Of several processes the first alone goes on: others have no `Context`.
  """
  from backbone.train import loop, processes

  mesh = common.build(command_line.mesh_config(config), 'config.mesh')
  rules = common.build(command_line.sharding_config(config), 'config.sharding')
  objective = common.build(config['objective'], 'config.objective')
  optimizer = common.build(config['optimizer'], 'config.optimizer')
  run = common.build(command_line.run_config(config), 'config.train')
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
    checkpoint_dir=checkpoint_dir,
    mesh=mesh,
    rules=rules,
    seed=config['seed'],
    config=dict(config),
  )
  if processes.number() > 1:
    is_chief = processes.is_chief()
    trained, mesh = processes.leave(trained)
    if not is_chief:
      return trained, None
  return trained, _context(
    trained, objective, data, mesh, config['seed'], workdir
  )


def _build_data(config: Mapping[str, Any], workdir: pathlib.Path) -> Any:
  from backbone.train import processes

  source = dict(config['data'])
  prepare = source.pop('prepare', None)
  if prepare:
    path, partial = workdir / 'data', workdir / 'data.partial'
    if processes.is_chief() and not path.exists():
      shutil.rmtree(partial, ignore_errors=True)
      partial.mkdir(parents=True)
      maker = command_line.prepare_config(prepare)
      common.build(maker, 'config.data.prepare', out=partial)
      partial.rename(path)
    processes.wait_for_all('data are prepared')
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


def _finish(given, argv, trained, rows, context):
  from backbone.train import metrics, state
  from experiments import report

  workdir = given.workdir
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
    config=given.config,
    file=given.file,
    command=' '.join(['python -m experiments.run', *argv[1:]]),
    lines=lines,
    rows=rows,
    summary=summary,
    facts=report.facts(trained, context.data, context.mesh),
    pictures=sorted((workdir / 'pictures').glob('*.png')),
  )
  write_aside(workdir / 'report.html', html)
  finished = {'config': given.config, 'summary': summary}
  write_aside(workdir / 'finished.json', json.dumps(finished, indent=1))
  return summary


def read_finished(
  workdir: pathlib.Path, config: Mapping[str, Any]
) -> dict[str, Any] | None:
  """The summary of a run of exactly this configuration, if it is finished."""
  path = workdir / 'finished.json'
  if not path.exists() or not (workdir / 'results.json').exists():
    return None
  finished = json.loads(path.read_text())
  same = {**command_line.DEFAULTS, **finished['config']} == config
  return finished['summary'] if same else None


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
  """Writes a file whole or not at all; makes the folders above it."""
  path.parent.mkdir(parents=True, exist_ok=True)
  aside = path.with_name(path.name + '.tmp')
  aside.write_text(text)
  os.replace(aside, path)


def _plain(value: Any) -> Any:
  """JSON has no NaN and no numpy."""
  value = value.item() if hasattr(value, 'item') else value
  is_bad = isinstance(value, float) and not math.isfinite(value)
  return None if is_bad else value


def complain(error: Any, code: int = EXIT_MEND) -> int:
  """Prints one line; returns the exit code."""
  text = ' '.join(str(error).split())
  print(f'error: {text}', file=sys.stderr, flush=True)
  return code


def end(code: int) -> None:
  """Leaves the program; a failure does not wait for other processes."""
  jax = sys.modules.get('jax')
  if code and jax and jax.distributed.is_initialized():
    sys.stdout.flush()
    os._exit(code)
  sys.exit(code)


if __name__ == '__main__':
  memory.keep_memory()
  # `python -m` imports this file as __main__; the errors are those of the
  # imported module.
  end(importlib.import_module('experiments.run').main(sys.argv))
