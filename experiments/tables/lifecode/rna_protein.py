"""Does this RNA bind that protein? Linear probes of pairs.

A public summary of Life-Code (arXiv:2502.07299) names the interaction of
non-coding RNA and proteins; its data set and values are unknown. Those quoted
are of other models on sets of RPITER, by five-fold cross-validation over random
pairs (README of CD-GPT); related, not ours. What we change: proteins that are
alike (about 63 % identity) are in one split alone, and pairs that repeat
another are left out. RNA is in all splits. Proteins are written as codons of
yeast's usage.

At the tiers smoke and cpu the table holds the one set that lies in the data
folder, RPI2241, in AUROC; of the two with a published value we report MCC.
"""

import pathlib
from typing import Any

from experiments.tables import tasks
from experiments.tables.lifecode import sources

# Metric of each set that is not RPI2241.
_OTHERS = {
  'RPI369': 'mcc',
  'RPI488': 'mcc',
  'RPI1807': 'auroc',
  'NPInter': 'auroc',
}

_SOURCE = 'README of CD-GPT (TencentAI4S/CD-GPT), MCC, random 5-fold; related'
PUBLISHED = sources.quoted(
  _SOURCE,
  ('rpi369', 'rpi488'),
  {'CD-GPT-1B': (0.5224, 0.8204), 'best before CD-GPT': (0.461, 0.793)},
  percent=False,
)
_WHERE = (
  'get the pairs and both FASTA files (gzipped) of RPITER from '
  'github.com/Pengeace/RPITER'
)


def get_table(
  data: pathlib.Path, out: pathlib.Path, tier: str
) -> dict[str, Any]:
  """Data sets, runs, tasks and published values."""
  found = tasks.declare(data, tier, ('rna_protein',))
  needs = []
  if tier in ('gpu', 'pod'):
    for name, metric in _OTHERS.items():
      pairs = tasks.rna_protein(
        data, name, task_name=name.lower(), metric=metric
      )
      found[name.lower()] = tasks.entry(
        'pair', tasks.limited(pairs, tasks.LIMITS.get(tier))
      )
      needs += [
        (pathlib.Path(pairs[file]), _WHERE)
        for file in ('path', 'rna', 'proteins')
      ]
  remark = 'MCC over random folds, which share proteins with training.'
  published = sources.published_note(PUBLISHED, remark)
  return {
    **sources.frame(data, out, tier),
    'title': 'Life-Code: RNA and protein',
    'note': (
      f'{sources.CELLS_NOTE} Intervals are over clusters of proteins, each in '
      f'one split; `rna_protein` is RPI2241.\n\n{published}'
    ),
    'needs': needs,
    'tasks': found,
    'published': sources.beside(PUBLISHED, tuple(found)),
  }
