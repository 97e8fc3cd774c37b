"""Families of non-coding RNA, a linear probe.

Not known to be a table of Life-Code (arXiv:2502.07299), and no value of another
model was at hand with a source, so none is quoted. The records are those of
nRC's training set, split anew so that equal sequences stay together: 341
sequences of its own test set are in its training set as well.
"""

import pathlib
from typing import Any

from experiments.tables import tasks
from experiments.tables.lifecode import sources

PUBLISHED: tuple[sources.Published, ...] = ()


def get_table(
  data: pathlib.Path, out: pathlib.Path, tier: str
) -> dict[str, Any]:
  """Data sets, runs and the task."""
  return {
    **sources.frame(data, out, tier),
    'title': 'Life-Code: families of non-coding RNA',
    'note': sources.CELLS_NOTE,
    'tasks': tasks.declare(data, tier, ('ncrna_family',)),
  }
