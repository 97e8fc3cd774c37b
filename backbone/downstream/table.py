"""Result rows, and a text table of them: tasks down, models across."""

from collections.abc import Iterable, Mapping

import numpy as np
from jaxtyping import Float

from backbone.downstream import metrics

Row = dict[str, object]


def row(
  table: str,
  task: str,
  metric: str,
  column: str,
  score: metrics.Score,
  *,
  seed: int = 0,
  split: str = 'test',
) -> Row:
  """One cell of a results table, as `results.json` holds it."""
  return {
    'table': table,
    'task': task,
    'split': split,
    'metric': metric,
    'column': column,
    'seed': seed,
    'value': score.value,
    'low': score.low,
    'high': score.high,
  }


def ratio_rows(
  table: str,
  task: str,
  metric: str,
  totals: Mapping[str, Float[np.ndarray, 'e']],
  weight: Float[np.ndarray, 'e'],
  bootstrap: metrics.Bootstrap,
  *,
  seed: int,
  split: str,
) -> list[Row]:
  """A row for each column of `totals`: its sum over that of `weight`."""
  return [
    row(
      table,
      task,
      metric,
      column,
      metrics.ratio(total, weight, bootstrap),
      seed=seed,
      split=split,
    )
    for column, total in totals.items()
  ]


def _cell(found: Row | None) -> str:
  if found is None:
    return '-'
  return '{value:.3f} [{low:.3f}, {high:.3f}]'.format(**found)


def _labels(found: Row) -> tuple[str, str, str]:
  return str(found['task']), str(found['metric']), str(found['split'])


def render(rows: Iterable[Row]) -> str:
  """All tables as text; a cell is the value and its interval."""
  rows = list(rows)
  tables = dict.fromkeys(str(found['table']) for found in rows)
  return '\n\n'.join(
    _render_one(name, [found for found in rows if found['table'] == name])
    for name in tables
  )


def _render_one(name: str, rows: list[Row]) -> str:
  columns = list(dict.fromkeys(str(found['column']) for found in rows))
  seeds = list(dict.fromkeys(found['seed'] for found in rows))
  # A seed is a column of its own where there are several.
  headers = [
    (column, seed, column if len(seeds) == 1 else f'{column} (seed {seed})')
    for column in columns
    for seed in seeds
  ]
  by_key = {(_labels(r), r['column'], r['seed']): r for r in rows}
  lines = [['task', 'metric', 'split', *(text for _, _, text in headers)]]
  for key in dict.fromkeys(map(_labels, rows)):
    cells = [_cell(by_key.get((key, c, s))) for c, s, _ in headers]
    lines.append([*key, *cells])
  widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
  text = [
    '  '.join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip()
    for line in lines
  ]
  text.insert(1, '  '.join('-' * width for width in widths))
  return '\n'.join([name, *text])
