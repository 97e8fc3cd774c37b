"""One model for DNA, RNA, protein and pairs: probes of a small pretraining.

Life-Code (arXiv:2502.07299) claims one nucleotide model for three omics; its
own tables were not at hand (lifecode/README.md), so no column here is its. The
values quoted are of other models on the same data, each with its source; none
was measured by us, and most were fine-tuned on the whole training set, which
a probe on a part of it is not.
"""

import pathlib
from typing import Any

from experiments.tables import tasks
from experiments.tables.lifecode import sources

# One of each kind of reader.
_SMOKE = ('prom_core_tata', 'pab1', 'secondary_structure', 'central_dogma')

_GUE = 'arXiv:2306.15006, fine-tuned on all'


def get_table(
  data: pathlib.Path, out: pathlib.Path, tier: str
) -> dict[str, Any]:
  """Data sets, runs, tasks and published values."""
  return {
    **sources.frame(data, out, tier),
    'title': 'Life-Code: three omics',
    'note': sources.CELLS_NOTE,
    'tasks': tasks.declare(data, tier, _SMOKE if tier == 'smoke' else ()),
    'published': {
      'prom_core_all': [_quoted('DNABERT-2', 0.694, _GUE)],
      'prom_core_tata': [_quoted('DNABERT-2', 0.742, _GUE)],
      'tf_0': [_quoted('DNABERT-2', 0.720, _GUE)],
      'tf_1': [_quoted('DNABERT-2', 0.761, _GUE)],
    },
  }


def _quoted(model: str, value: float, source: str) -> dict[str, Any]:
  return {'model': model, 'value': value, 'source': source}
