"""A page from the result rows of finished runs, a column a run."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

from data_pipelines.errors import InputError

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class RunTable:
  """Results of runs on the same data.

  Attributes:
    title: Of the page.
    note: Below it.
    runs: By group of lines, by column: the folder of a run.
    shared: Columns of the first run of a group beside its own, such as a
      baseline.
    split: Whose results.
  """

  title: str
  note: str
  runs: Mapping[str, Mapping[str, str]]
  shared: tuple[str, ...] = ()
  split: str = 'test'

  def write(self, out: pathlib.Path, head: str) -> str:
    """Writes table.md, table.png and results.json; returns the Markdown."""
    lines = {
      (group, task): cells
      for group, folders in self.runs.items()
      for task, cells in self._cells(folders).items()
    }
    columns = list(dict.fromkeys(c for cells in lines.values() for c in cells))
    grid = [_line(['data', 'task', *columns])]
    grid.append(_line(['---'] * (len(columns) + 2)))
    for (group, task), cells in lines.items():
      shown = [_text(cells[c]) if c in cells else '-' for c in columns]
      grid.append(_line([group, task, *shown]))
    text = '\n'.join(
      [f'# {self.title}', '', head, '', self.note, '', *grid, '']
    )
    out.mkdir(parents=True, exist_ok=True)
    _draw(lines, columns, out / 'table.png')
    results = [
      {'data': group, **row, 'column': column}
      for (group, _), cells in lines.items()
      for column, row in cells.items()
    ]
    for name, content in (
      ('results.json', json.dumps(results, indent=1)),
      ('table.md', text),
    ):
      aside = out / f'{name}.tmp'
      aside.write_text(content)
      aside.replace(out / name)
    return text

  def _cells(self, folders: Mapping[str, str]) -> dict[str, dict[str, Row]]:
    """By task and metric, then by column."""
    found: dict[str, dict[str, Row]] = {}
    for column, folder in folders.items():
      for row in _rows(pathlib.Path(folder) / 'results.json'):
        cells = found.setdefault(f'{row["task"]}, {row["metric"]}', {})
        if row['split'] != self.split:
          continue
        if row['column'] == 'trained':
          cells[column] = row
        elif row['column'] in self.shared:
          cells.setdefault(row['column'], row)
    return {task: cells for task, cells in found.items() if cells}


def _rows(path: pathlib.Path) -> list[Row]:
  try:
    return json.loads(path.read_text())
  except (OSError, ValueError) as error:
    raise InputError(f'{path}: no results of a run ({error})') from error


def _draw(
  lines: Mapping[tuple[str, str], Mapping[str, Row]],
  columns: Sequence[str],
  path: pathlib.Path,
) -> None:
  mpl.use('Agg')
  figure, axes = plt.subplots(figsize=(1.6 * len(lines) + 2, 3.2))
  for at, column in enumerate(columns):
    shift = (at - (len(columns) - 1) / 2) * 0.8 / len(columns)
    for place, cells in enumerate(lines.values()):
      if column in cells:
        row = cells[column]
        x = place + shift
        label = column if place == 0 else None
        if row['low'] is not None:
          axes.plot([x, x], [row['low'], row['high']], color=f'C{at}')
        axes.plot(x, row['value'], 'o', color=f'C{at}', label=label)
  names = [f'{group}\n{task}' for group, task in lines]
  axes.set_xticks(range(len(lines)), names)
  axes.grid(axis='y', alpha=0.3)
  axes.legend(fontsize='small')
  figure.tight_layout()
  figure.savefig(path, dpi=150)
  plt.close(figure)


def _text(row: Row) -> str:
  if row['low'] is None:
    return f'{row["value"]:.3f}'
  return f'{row["value"]:.3f} [{row["low"]:.3f}, {row["high"]:.3f}]'


def _line(cells: Sequence[Any]) -> str:
  return f'| {" | ".join(map(str, cells))} |'
