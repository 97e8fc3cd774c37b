"""Does this CDS code for that protein? Linear probes of pairs.

That Life-Code (arXiv:2502.07299) has such a task is inferred from a caption of
the same group's next paper; data set and values are unknown, so none is quoted.
Proteins of other genes are told apart by length and composition; the hard
negatives are the true protein with a tenth of its residues changed. The column
`rule` translates and compares: it needs no model, and puts any score beside it
in proportion.
"""

import pathlib
from typing import Any

from experiments.tables import tasks
from experiments.tables.lifecode import sources

PUBLISHED: tuple[sources.Published, ...] = ()

# Negatives: those of another gene, substitutions, and other edits.
_NEGATIVES = {
  'shuffled': {'hard': 0.0},
  'substituted': {'hard': 1.0},
  'shifted': {'hard': 1.0, 'edits': ('insertion', 'deletion')},
}


def get_table(
  data: pathlib.Path, out: pathlib.Path, tier: str
) -> dict[str, Any]:
  """Data sets, runs and tasks."""
  found = tasks.declare(data, tier, ('central_dogma',))
  if tier != 'smoke':
    for name, negatives in _NEGATIVES.items():
      pairs = tasks.central_dogma(data, task_name=name, **negatives)
      found[name] = tasks.entry(
        'pair',
        tasks.limited(pairs, tasks.LONG_LIMITS.get(tier)),
        rule=tasks.RULE,
      )
  return {
    **sources.frame(data, out, tier),
    'title': 'Life-Code: CDS and protein',
    'note': (
      f'{sources.CELLS_NOTE} Half of the negatives of `central_dogma` are '
      'proteins of other genes, half have residues substituted; the other '
      'tasks have one kind each.'
    ),
    'tasks': found,
  }
