"""A reproduced table as a page: Markdown, JSON and a picture."""

import json
import pathlib
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

from experiments import run
from experiments.report_figures import COLOURS, GRID

Cells = Sequence[Mapping[str, Any]]

# Cells of this column count test sequences; they are no scores.
CONTAMINATION = 'contamination'
# One for each round through the colours.
_MARKERS = ('o', 's', '^', 'D')


def write(
  table: Mapping[str, Any], cells: Cells, out: pathlib.Path, command: str
) -> str:
  """Writes results.json, table.md and table.png; returns the Markdown."""
  from backbone.train import provenance

  kept = [{k: v for k, v in cell.items() if k != 'entry'} for cell in cells]
  run.write_aside(out / 'results.json', json.dumps(kept, indent=1))
  scores = [cell for cell in kept if cell['column'] != CONTAMINATION]
  stamp = time.strftime('%Y-%m-%d', time.gmtime())
  lines = [
    f'# {_title(table)}',
    '',
    f'{stamp}, commit {provenance.code_version()}, tier {table["tier"]}; '
    f'cells of {", ".join(sorted({cell["commit"] for cell in cells}))}.',
    '',
    f'```bash\npython -m experiments.reproduce {command}\n```',
    '',
    table['note'],
    *_finetuned(table),
    '',
    *_grid(table, scores),
    '',
    *_findings(table, scores),
    *_contamination(kept),
  ]
  text = '\n'.join(lines) + '\n'
  run.write_aside(out / 'table.md', text)
  _draw(table, scores, out / 'table.png')
  return text


def _finetuned(table: Mapping[str, Any]) -> list[str]:
  """What the note, which is of probes, does not say."""
  if table['evaluation'] == 'probe':
    return []
  settings = table['cells']['finetune']
  chosen = ', '.join(f'{k} {v}' for k, v in settings.items() if k != 'name')
  what = {
    'finetune': 'Encoders are trained on the task',
    'lora': 'Low-rank adapters of the encoders are trained on the task (of a '
    'network that no run pretrained, all of it)',
  }[table['evaluation']]
  return [
    '',
    f'{what}, with random weights as well: {chosen}; epoch and learning rate '
    'are chosen on validation. Where residues are labelled, counts are fitted '
    'on a sample of them.',
  ]


def _title(table: Mapping[str, Any]) -> str:
  how = {
    'probe': 'linear probes',
    'finetune': 'fine-tuned',
    'lora': 'low-rank adapters',
  }
  return f'{table["title"]}, {how[table["evaluation"]]}'


def summarize(cells: Cells) -> dict[str, float]:
  """Mean over the seeds; the lowest and highest bound of their intervals."""
  return {
    'value': statistics.fmean(cell['value'] for cell in cells),
    'low': min(cell['low'] for cell in cells),
    'high': max(cell['high'] for cell in cells),
  }


def _columns(cells: Cells) -> list[str]:
  found = dict.fromkeys(cell['column'] for cell in cells)
  # Controls first, what was trained last.
  controls = [c for c in ('random_weights', 'kmer', 'rule') if c in found]
  return [*controls, *(c for c in found if c not in controls)]


def _of(cells: Cells, task: str, column: str) -> list[Mapping[str, Any]]:
  return [c for c in cells if (c['task'], c['column']) == (task, column)]


def _grid(table: Mapping[str, Any], cells: Cells) -> list[str]:
  columns = _columns(cells)
  published = table.get('published', {})
  base = table['random_weights_of']
  controls = ('random_weights', 'kmer', *table.get('counts', ()))
  gains = [c for c in controls if {c, base} <= set(columns)]
  gain_heads = [f'{base} - {column}' for column in gains]
  quoted_columns = table.get('published_columns', {})
  head = ['task', 'omics', 'metric', *columns, *gain_heads, *quoted_columns]
  is_quoted = bool(published) or not quoted_columns
  head += ['published'] if is_quoted else []
  lines = [_line(head), _line(['---'] * len(head))]
  for name, entry in table['tasks'].items():
    shown = [_text(_of(cells, name, column)) for column in columns]
    metric = _of(cells, name, columns[0])[0]['metric']
    quoted = '; '.join(
      f'{p["model"]} {p["value"]:g} ({p["source"]})'
      for p in published.get(name, ())
    )
    shown += [
      f'{_mean(cells, name, base) - _mean(cells, name, c):+.3f}' for c in gains
    ]
    shown += [values.get(name, '-') for values in quoted_columns.values()]
    shown += [quoted or '-'] if is_quoted else []
    lines.append(_line([name, entry['omics'], metric, *shown]))
  return lines


def _line(cells: Sequence[str]) -> str:
  return f'| {" | ".join(cells)} |'


def _text(cells: Cells) -> str:
  if not cells:
    return '-'
  text = '{value:.3f} [{low:.3f}, {high:.3f}]'.format(**summarize(cells))
  chosen = cells[0].get('features')
  return f'{text} ({chosen})' if chosen else text


def _findings(table: Mapping[str, Any], cells: Cells) -> list[str]:
  """Who is ahead, in sentences: of random weights, and of counts."""
  base = table['random_weights_of']
  lines = []
  trained = [c for c in _columns(cells) if c in table['runs']]
  for column in trained:
    against = 'random_weights'
    lines.append(_ahead(table, cells, column, against))
    if column != base:
      lines.append(_ahead(table, cells, column, base))
  if base in trained:
    for column in table.get('untrained', ()):
      lines.append(_ahead(table, cells, base, column))
  for column in trained:
    behind = [
      name
      for name in table['tasks']
      if _mean(cells, name, 'kmer') >= _mean(cells, name, column)
    ]
    lines.append(
      f'- Counts of k-mers are as good or better than `{column}` on '
      f'{len(behind)} of {len(table["tasks"])} tasks'
      f'{": " + ", ".join(behind) if behind else ""}.'
    )
  return lines


def _ahead(
  table: Mapping[str, Any], cells: Cells, column: str, other: str
) -> str:
  ahead, surely = [], []
  has_seeds = len(table['seeds']) > 1
  for name in table['tasks']:
    one = {c['seed']: c['value'] for c in _of(cells, name, column)}
    two = {c['seed']: c['value'] for c in _of(cells, name, other)}
    if _mean(cells, name, column) > _mean(cells, name, other):
      ahead.append(name)
    if has_seeds and min(one.values()) > max(two.values()):
      surely.append(name)
    lowest = summarize(_of(cells, name, column))['low']
    if not has_seeds and lowest > summarize(_of(cells, name, other))['high']:
      surely.append(name)
  how = (
    f'(means of {len(table["seeds"])} seeds), with its worst seed ahead of the '
    'best'
    if has_seeds
    else '(one seed), with intervals apart'
  )
  return (
    f'- `{column}` is ahead of `{other}` on {len(ahead)} of '
    f'{len(table["tasks"])} tasks {how} on {len(surely)}: '
    f'{", ".join(surely) or "none"}.'
  )


def _contamination(cells: Cells) -> list[str]:
  """Test sequences that were there to train on, in numbers."""
  found = [cell for cell in cells if cell['column'] == CONTAMINATION]
  if not found:
    return []
  share = f'{found[0][CONTAMINATION]["threshold"]:.0%}'
  head = [
    'task',
    'test sequences',
    'exactly in pretraining data',
    f'minimizers >= {share}',
    "exactly in the task's own training set",
    'similar to it',
  ]
  lines = ['', _line(head), _line(['---'] * len(head))]
  for cell in found:
    sides = cell[CONTAMINATION]['sides']
    for side in sides:
      name = cell['task'] + (f', {side["kind"]}' if len(sides) > 1 else '')
      unchecked = side['num_unchecked']
      number = f'{side["num_test"]:,}'
      if unchecked:
        number += f' ({unchecked:,} too short to check)'
      keys = (
        'num_exact',
        'num_similar',
        'num_exact_in_task',
        'num_similar_in_task',
      )
      lines.append(_line([name, number, *(f'{side[key]:,}' for key in keys)]))
  return lines


def _mean(cells: Cells, task: str, column: str) -> float:
  return summarize(_of(cells, task, column))['value']


def _draw(table: Mapping[str, Any], cells: Cells, path: pathlib.Path) -> None:
  """A line for each task, a dot and an interval for each column."""
  from matplotlib.figure import Figure

  columns, names = _columns(cells), list(table['tasks'])
  shown = {name: [c for c in columns if _of(cells, name, c)] for name in names}
  height = 1.2 + 0.13 * sum(len(found) + 1 for found in shown.values())
  figure = Figure(figsize=(8, height), layout='constrained')
  axes = figure.subplots()
  for i, name in enumerate(names):
    for j, column in enumerate(shown[name]):
      found = summarize(_of(cells, name, column))
      y = i + (j - (len(shown[name]) - 1) / 2) * 0.8 / len(shown[name])
      cycle, at = divmod(columns.index(column), len(COLOURS))
      colour, marker = (
        COLOURS[at],
        _MARKERS[cycle % len(_MARKERS)],
      )
      axes.plot([found['low'], found['high']], [y, y], color=colour, lw=1.6)
      axes.plot([found['value']], [y], marker, color=colour, ms=5, label=column)
  axes.set_yticks(range(len(names)), names)
  axes.set_ylim(len(names) - 0.4, -0.6)
  axes.set_xlabel('score on test; interval over examples and seeds')
  axes.grid(axis='x', color=GRID)
  axes.set_axisbelow(True)
  for side in ('top', 'right', 'left'):
    axes.spines[side].set_visible(False)
  axes.tick_params(axis='y', length=0)
  axes.set_title(_title(table), loc='left', fontsize=11)
  handles, labels = axes.get_legend_handles_labels()
  handle_of = dict(zip(labels, handles, strict=True))
  axes.legend(
    [handle_of[column] for column in columns],
    columns,
    frameon=False,
    loc='upper left',
    bbox_to_anchor=(1.0, 1.0),
    fontsize=9,
  )
  aside = path.with_name('aside.png')
  figure.savefig(aside, dpi=150)
  aside.replace(path)
