"""Abundance of mRNA and protein from the coding sequence, ridge regression.

Not known to be a table of Life-Code (arXiv:2502.07299). The values for
expression that one public list attaches to its name have no support, and are
not quoted. Those quoted are of bulk RNA from long windows of the human genome
(MergeDNA, arXiv:2511.14806): a related question, another task. Our genes lie in
genomes of the pretraining, whose labels it never saw.
"""

import pathlib
from typing import Any

from experiments.tables import tasks
from experiments.tables.lifecode import sources

_TASKS = ('ecoli_mrna', 'yeast_mrna', 'ecoli_abundance')

PUBLISHED = sources.quoted(
  'MergeDNA (arXiv:2511.14806), long-range table; related',
  ('bulk RNA',),
  {'best baseline': (0.60,), 'MergeDNA': (0.62,)},
  percent=False,
)
_REMARK = (
  'R² of bulk RNA in human tissue, long-range: another task and metric than '
  'those of our cells, which are Pearson correlations over genes.'
)


def get_table(
  data: pathlib.Path, out: pathlib.Path, tier: str
) -> dict[str, Any]:
  """Data sets, runs, tasks and published values."""
  published = sources.published_note(PUBLISHED, _REMARK)
  names = _TASKS[:1] if tier == 'smoke' else _TASKS
  return {
    **sources.frame(data, out, tier),
    'title': 'Life-Code: expression from coding sequence',
    'note': f'{sources.CELLS_NOTE}\n\n{published}',
    'tasks': tasks.declare(data, tier, names),
  }
