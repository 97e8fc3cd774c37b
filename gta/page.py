"""Pieces of the pages of tables: Markdown, and files written aside."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any


def line(cells: Sequence[Any]) -> str:
  """A line of a table."""
  return f'| {" | ".join(map(str, cells))} |'


def grid(head: Sequence[Any], rows: Sequence[Sequence[Any]]) -> list[str]:
  """A table."""
  return [line(head), line(['---'] * len(head)), *map(line, rows)]


def interval(
  value: float, low: float | None, high: float | None, sign: str = ''
) -> str:
  """A number, and what it may be; the latter may not be known."""
  if low is None:
    return f'{value:{sign}.3f}'
  return f'{value:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]'


def write(out: pathlib.Path, parts: Sequence[str], results: Any) -> str:
  """Writes table.md and results.json; returns the Markdown.

  Args:
    out: Their folder.
    parts: Lines of the page.
    results: What JSON can hold.
  """
  text = '\n'.join(parts)
  for name, content in (
    ('results.json', json.dumps(results, indent=1)),
    ('table.md', text),
  ):
    aside = out / f'{name}.tmp'
    aside.write_text(content)
    aside.replace(out / name)
  return text
