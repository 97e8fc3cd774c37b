"""Effects of mutations on proteins, ridge regression on frozen encoders.

Public summaries of Life-Code (arXiv:2502.07299) name protein fitness; its
values are unknown. Those quoted are of other models, zero-shot and over many
scans of bacterial and human proteins (MergeDNA, arXiv:2511.14806, Table 5);
related, not ours. What we change: three scans, with a regression fitted on
their training variants, so that no cell can stand beside a quoted value.
Variants are codons: a mutation changes its codon to the nearest of the new
residue, and the wild type is written in yeast's usage, not as its real CDS.
"""

import pathlib
from typing import Any

from experiments.tables import tasks
from experiments.tables.lifecode import sources

# Besides three_vs_rest, which other tables have as well.
_SPLITS = ('one_vs_rest', 'two_vs_rest', 'low_vs_high', 'sampled')

PUBLISHED = sources.quoted(
  'MergeDNA (arXiv:2511.14806), Table 5; related',
  ('bacterial', 'human'),
  {
    'GenSLM-2.5B': (24.7, 6.9),
    'NT-2.5B': (9.4, 4.7),
    'ESM2-650M': (51.2, 37.5),
    'Evo-7B': (45.3, 11.1),
    'Evo2-7B': (45.85, 36.9),
    'MergeDNA': (42.72, 20.58),
  },
)
_REMARK = (
  'Zero-shot Spearman correlation, other proteins: another task than that of '
  'our cells, which are fitted on variants of the same protein.'
)


def get_table(
  data: pathlib.Path, out: pathlib.Path, tier: str
) -> dict[str, Any]:
  """Data sets, runs, tasks and published values."""
  names = ('pab1',) if tier == 'smoke' else ('avgfp', 'pab1', 'gb1')
  found = tasks.declare(data, tier, names)
  if tier != 'smoke':
    for split in _SPLITS:
      variants = tasks.gb1(data, split, f'gb1_{split}')
      found[f'gb1_{split}'] = tasks.entry(
        'protein', tasks.limited(variants, tasks.LONG_LIMITS.get(tier))
      )
  published = sources.published_note(PUBLISHED, _REMARK)
  return {
    **sources.frame(data, out, tier),
    'title': 'Life-Code: effects of mutations',
    'note': (
      f'{sources.CELLS_NOTE} `gb1` is the split three_vs_rest.\n\n{published}'
    ),
    'tasks': found,
  }
