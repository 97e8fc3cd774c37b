"""The report of a run: one HTML file that needs nothing else."""

import base64
import html
import os
import pathlib
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

from experiments import report_figures
from experiments.report_figures import Rows

STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 60rem; padding: 2.5rem 1.5rem 4rem;
  font: 15px/1.55 system-ui, 'Segoe UI', Helvetica, Arial, sans-serif;
  color: #1f2430; background: #fff; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.1rem; margin: 2.4rem 0 .6rem; }
p.lead { color: #6b7280; margin: 0 0 1.4rem; }
code, pre { font: 12.5px/1.5 ui-monospace, Menlo, Consolas, monospace; }
pre { background: #f6f7f9; border-radius: 6px; padding: .8rem 1rem;
  overflow-x: auto; margin: 0; white-space: pre-wrap;
  overflow-wrap: anywhere; }
.tiles { display: flex; flex-wrap: wrap; gap: .7rem; }
.tile { flex: 1 1 9rem; background: #f6f7f9; border-radius: 8px;
  padding: .7rem .9rem; }
.tile b { display: block; font-size: 1.25rem; font-weight: 600;
  font-variant-numeric: tabular-nums; }
.tile span { color: #6b7280; font-size: .82rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th { text-align: left; font-weight: 600; color: #6b7280; font-size: .8rem; }
th, td { padding: .42rem .8rem .42rem 0; border-bottom: 1px solid #e5e7eb;
  vertical-align: baseline; }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
td.number small { color: #6b7280; }
td.best { font-weight: 600; }
td.key { white-space: nowrap; color: #6b7280; width: 1%; }
svg { width: 100%; height: auto; display: block; margin-top: .8rem; }
img { max-width: 100%; height: auto; display: block; margin-top: .8rem; }
details summary { cursor: pointer; color: #6b7280; margin-bottom: .5rem; }
"""


def facts(trained: Any, data: Any, mesh: Any) -> dict[str, str]:
  """Hashes, versions and hardware, as the report lists them."""
  import jax

  from backbone.train import provenance

  devices = mesh.devices.flatten()
  axes = ', '.join(f'{k} {v}' for k, v in mesh.shape.items())
  num_parameters = sum(x.size for x in jax.tree.leaves(trained.params))
  return {
    'parameters': f'{num_parameters:,}',
    'data manifest': data.manifest_hash(),
    'code version': provenance.code_version(),
    'hardware': (
      f'{len(devices)} {devices[0].device_kind} ({devices[0].platform}), '
      f'{os.cpu_count()} CPU cores, {platform.machine()}'
    ),
    'mesh': axes,
    'software': f'Python {platform.python_version()}, JAX {jax.__version__}',
    'date': time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime()),
  }


def render(
  *,
  config: Mapping[str, Any],
  file: str,
  command: str,
  lines: Rows,
  rows: Rows,
  summary: Mapping[str, Any],
  facts: Mapping[str, str],
  pictures: Sequence[pathlib.Path] = (),
) -> str:
  """The page; strings are escaped, figures and pictures are in it.

  Args:
    pictures: PNG files that the tables left.
  """
  title = config.get('title') or f'Run of {file}'
  curves = [k for k in ('loss',) if any(k in line for line in lines)]
  parts = [
    f'<h1>{html.escape(title)}</h1>',
    f'<p class="lead">{html.escape(facts["date"])} · '
    f'{html.escape(facts["hardware"])}</p>',
    _tiles(summary, facts),
  ]
  if rows:
    parts += [
      '<h2>Results</h2>',
      _results_table(rows),
      report_figures.intervals(rows),
    ]
  if pictures:
    parts += ['<h2>Pictures</h2>', *map(_picture, pictures)]
  if curves:
    parts += ['<h2>Loss</h2>', report_figures.loss_curves(lines)]
  if any('tokens_per_second' in line for line in lines):
    parts += ['<h2>Throughput</h2>', report_figures.throughput(lines)]
  details = {
    'command': command,
    'configuration file': file,
    'working directory': summary['workdir'],
    'parameters sha256': summary['parameters_sha256'],
    **_goodput(lines),
    **facts,
  }
  parts += ['<h2>How it was made</h2>', _key_values(details)]
  parts += [
    '<h2>Configuration</h2>',
    '<details open><summary>as used, overrides included</summary>',
    f'<pre>{html.escape(_flat(config), quote=False)}</pre></details>',
  ]
  return (
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    f'<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n'
    f'<body>{"".join(parts)}</body></html>\n'
  )


def _goodput(lines: Rows) -> dict[str, str]:
  """Where the time went, without the first reading, which compiles."""
  read = [line for line in lines if 'goodput' in line][1:]
  if not read:
    return {}
  said = {
    'goodput': ('time in steps', '(median between two lines of the log)'),
    'loader_stall': ('waiting for data', 'of training'),
    'utilisation': ('utilisation', 'of the peak of bf16'),
  }
  # Devices of unknown peak, on which a run may go on, log no utilisation.
  found = {n: [line[n] for line in read if n in line] for n in said}
  return {
    label: f'{statistics.median(found[name]):.1%} {of}'
    for name, (label, of) in said.items()
    if found[name]
  }


def _picture(path: pathlib.Path) -> str:
  content = base64.b64encode(path.read_bytes()).decode()
  label = html.escape(path.stem.replace('_', ' '))
  return f'<img alt="{label}" src="data:image/png;base64,{content}">'


def _tiles(summary: Mapping[str, Any], facts: Mapping[str, str]) -> str:
  loss, rate = summary['loss'], summary['tokens_per_second']
  tiles = {
    'steps': f'{summary["step"]:,}',
    'validation loss': 'n/a' if loss is None else f'{loss:.4f}',
    'tokens per second': 'n/a' if rate is None else f'{rate:,.0f}',
    'parameters': facts['parameters'],
  }
  cells = ''.join(
    f'<div class="tile"><b>{html.escape(v)}</b><span>{k}</span></div>'
    for k, v in tiles.items()
  )
  return f'<div class="tiles">{cells}</div>'


def _results_table(rows: Rows) -> str:
  columns = list(dict.fromkeys(row['column'] for row in rows))
  head = ['table', 'task', 'split', 'metric', *columns]
  body = []
  for key, cells in report_figures.grouped(rows).items():
    cells = ''.join(
      f'<td class="number">{_cell(cells.get(c))}</td>' for c in columns
    )
    labels = ''.join(f'<td>{html.escape(k)}</td>' for k in key)
    body.append(f'<tr>{labels}{cells}</tr>')
  titles = ''.join(f'<th>{html.escape(h)}</th>' for h in head)
  return (
    f'<div class="scroll"><table><thead><tr>{titles}</tr></thead>'
    f'<tbody>{"".join(body)}</tbody></table></div>'
  )


def _cell(row: Mapping[str, Any] | None) -> str:
  if row is None:
    return ''
  if row['value'] is None:
    return 'n/a'
  text = f'{row["value"]:.3f}'
  if row.get('low') is not None and row.get('high') is not None:
    text += f' <small>[{row["low"]:.3f}, {row["high"]:.3f}]</small>'
  return text


def _key_values(values: Mapping[str, Any]) -> str:
  body = ''.join(
    f'<tr><td class="key">{html.escape(k)}</td>'
    f'<td><code>{html.escape(str(v))}</code></td></tr>'
    for k, v in values.items()
  )
  return f'<table><tbody>{body}</tbody></table>'


def _flat(config: Any, prefix: str = 'config') -> str:
  if isinstance(config, Mapping):
    return '\n'.join(_flat(v, f'{prefix}.{k}') for k, v in config.items())
  is_nested = isinstance(config, (list, tuple)) and any(
    isinstance(v, Mapping) for v in config
  )
  if is_nested:
    return '\n'.join(_flat(v, f'{prefix}[{i}]') for i, v in enumerate(config))
  return f'{prefix} = {config!r}'
