"""Figures of a run's report, as SVG."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

Rows = Sequence[Mapping[str, Any]]

INK, MUTED, GRID = '#1f2430', '#6b7280', '#e5e7eb'
COLOURS = ('#2457c5', '#d9822b', '#3a8f5c', '#8a4fbf', '#c23b4b', '#5b7083')


def grouped(rows: Rows) -> dict[tuple[str, ...], dict[str, Mapping]]:
  """By table, task, split and metric: a row for each column."""
  groups: dict[tuple[str, ...], dict[str, Mapping]] = {}
  for row in rows:
    key = tuple(str(row[k]) for k in ('table', 'task', 'split', 'metric'))
    groups.setdefault(key, {})[row['column']] = row
  return groups


def intervals(rows: Rows) -> str:
  """Dots with intervals: a panel per metric, a line per task."""
  rows = [row for row in rows if row['value'] is not None]
  metrics = list(dict.fromkeys((r['table'], r['metric']) for r in rows))
  columns = list(dict.fromkeys(row['column'] for row in rows))
  return ''.join(
    _interval_panel(
      [r for r in rows if (r['table'], r['metric']) == metric],
      f'{metric[0]}: {metric[1]}',
      columns,
    )
    for metric in metrics
  )


def _interval_panel(rows: Rows, title: str, columns: Sequence[str]) -> str:
  groups = list(grouped(rows).items())
  figure, axes = _figure(0.75 + 0.24 * (len(rows) + len(groups)))
  position, ticks = 0.0, []
  for key, cells in groups:
    first = position
    for column in columns:
      if column in cells:
        _dot(axes, cells[column], position, columns.index(column))
        position += 1
    ticks.append(((first + position - 1) / 2, f'{key[1]} ({key[2]})'))
    position += 1
  axes.set_yticks([t for t, _ in ticks], [label for _, label in ticks])
  axes.set_ylim(position - 0.6, -0.9)
  axes.grid(axis='x', color=GRID)
  axes.set_title(title, loc='left', fontsize=10, color=INK)
  shown = [c for c in columns if any(r['column'] == c for r in rows)]
  handles = [
    axes.plot([], [], 'o', color=_colour(columns.index(c)), label=c)[0]
    for c in shown
  ]
  axes.legend(
    handles=handles,
    frameon=False,
    fontsize=9,
    loc='upper left',
    bbox_to_anchor=(1.0, 1.0),
  )
  return _svg(figure)


def _dot(axes: Any, row: Mapping[str, Any], y: float, column: int) -> None:
  colour = _colour(column)
  if row.get('low') is not None and row.get('high') is not None:
    axes.plot([row['low'], row['high']], [y, y], color=colour, linewidth=2)
  axes.plot([row['value']], [y], 'o', color=colour, markersize=5)


def loss_curves(lines: Rows) -> str:
  """Of training and validation."""
  figure, axes = _figure(3.0)
  for i, split in enumerate(dict.fromkeys(line['split'] for line in lines)):
    points = [
      (line['step'], line['loss'])
      for line in lines
      if line['split'] == split and 'loss' in line
    ]
    steps, losses = zip(*points, strict=True)
    is_sparse = len(points) < 30
    axes.plot(
      steps,
      losses,
      color=_colour(i),
      linewidth=1.6,
      label=split,
      marker='o' if is_sparse else None,
      markersize=4,
    )
  axes.set_xlabel('step')
  axes.set_ylabel('loss')
  axes.grid(color=GRID)
  axes.legend(frameon=False, fontsize=9)
  return _svg(figure)


def throughput(lines: Rows) -> str:
  """Tokens a second along the run."""
  points = [
    (line['step'], line['tokens_per_second'])
    for line in lines
    if 'tokens_per_second' in line
  ]
  figure, axes = _figure(2.0)
  axes.plot(*zip(*points, strict=True), color=_colour(0), linewidth=1.6)
  axes.set_ylim(bottom=0)
  axes.set_xlabel('step')
  axes.set_ylabel('tokens/s')
  axes.grid(color=GRID)
  return _svg(figure)


def _figure(height: float) -> tuple[Any, Any]:
  from matplotlib.figure import Figure

  figure = Figure(figsize=(8.6, height), layout='constrained')
  axes = figure.subplots()
  for side in ('top', 'right', 'left', 'bottom'):
    axes.spines[side].set_visible(False)
  axes.tick_params(length=0, labelsize=9, labelcolor=MUTED)
  axes.xaxis.label.set_color(MUTED)
  axes.yaxis.label.set_color(MUTED)
  axes.set_axisbelow(True)
  return figure, axes


def _colour(i: int) -> str:
  return COLOURS[i % len(COLOURS)]


def _svg(figure: Any) -> str:
  out = io.StringIO()
  figure.savefig(out, format='svg', metadata={'Date': None})
  text = out.getvalue()
  return text[text.index('<svg') :]
