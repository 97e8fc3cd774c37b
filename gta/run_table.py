"""A page from the result rows of finished runs, a column a run."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

from data_pipelines.errors import InputError
from gta import page

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class RunTable:
  """Results of runs on the same data.

  Attributes:
    title: Of the page.
    note: Below it.
    runs: By group of lines, by column: the folder of a run.
    shared: By group, columns of its first run beside its own, such as a
      baseline.
    split: Whose results.
  """

  title: str
  note: str
  runs: Mapping[str, Mapping[str, str]]
  shared: Mapping[str, tuple[str, ...]] = dataclasses.field(
    default_factory=dict
  )
  split: str = 'test'

  def write(self, out: pathlib.Path, head: str) -> str:
    """Writes table.md, table.png and results.json; returns the Markdown."""
    lines = {
      (group, task): cells
      for group, folders in self.runs.items()
      for task, cells in self._cells(group, folders).items()
    }
    columns = list(dict.fromkeys(c for cells in lines.values() for c in cells))
    rows = [
      [group, task, *(_text(cells[c]) if c in cells else '-' for c in columns)]
      for (group, task), cells in lines.items()
    ]
    out.mkdir(parents=True, exist_ok=True)
    _draw(lines, columns, out / 'table.png')
    results = [
      {'data': group, **row, 'column': column}
      for (group, _), cells in lines.items()
      for column, row in cells.items()
    ]
    grid = page.grid(['data', 'task', *columns], rows)
    parts = [f'# {self.title}', '', head, '', self.note, '', *grid, '']
    return page.write(out, parts, results)

  def _cells(
    self, group: str, folders: Mapping[str, str]
  ) -> dict[str, dict[str, Row]]:
    """By task and metric, then by column."""
    shared = self.shared.get(group, ())
    found: dict[str, dict[str, Row]] = {}
    for column, folder in folders.items():
      for row in _rows(pathlib.Path(folder) / 'results.json'):
        cells = found.setdefault(f'{row["task"]}, {row["metric"]}', {})
        if row['split'] != self.split:
          continue
        if row['column'] == 'trained':
          cells[column] = row
        elif row['column'] in shared:
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
  figure, axes = plt.subplots(figsize=(1.3 * len(lines) + 3, 3.2))
  colors = mpl.colormaps['tab20'].colors
  for at, column in enumerate(columns):
    shift = (at - (len(columns) - 1) / 2) * 0.8 / len(columns)
    label, color = column, colors[at % len(colors)]
    for place, cells in enumerate(lines.values()):
      if column in cells:
        row = cells[column]
        x = place + shift
        if row['low'] is not None:
          axes.plot([x, x], [row['low'], row['high']], color=color)
        axes.plot(x, row['value'], 'o', color=color, label=label)
        label = None
  names = [f'{group}\n{task}'.replace(', ', '\n') for group, task in lines]
  axes.set_xticks(range(len(lines)), names)
  axes.grid(axis='y', alpha=0.3)
  axes.legend(fontsize='small', loc='center left', bbox_to_anchor=(1, 0.5))
  figure.tight_layout()
  figure.savefig(path, dpi=150)
  plt.close(figure)


def _text(row: Row) -> str:
  return page.interval(row['value'], row['low'], row['high'])
