"""Splice sites, donor and acceptor, linear probes.

Public summaries of Life-Code (arXiv:2502.07299) name RNA splicing; its values
are unknown. Those quoted are of other models on the data of SpliceAI as
GenBench cuts them (MergeDNA, arXiv:2511.14806, Table 4); related, not ours.

That series must not be compared with our cells. In the public code labels seem
to lie 2,000 bases beyond the input that they are paired with, and what is
called PR-AUC there is AUROC; so the task is declared anew here: a window with
the site, or a decoy, in its centre and as much context on either side, one
folder for donors and one for acceptors. Probes read the mean over the window,
for want of a reader of such folders that keeps to the centre.
"""

import pathlib
from typing import Any

from experiments.tables import tasks
from experiments.tables.lifecode import sources

SITES = ('donor', 'acceptor')
MEANS = {'mean of both': dict.fromkeys(SITES, 1)}

PUBLISHED = sources.quoted(
  'MergeDNA (arXiv:2511.14806), Table 4; related',
  SITES,
  {
    'SpliceAI': (57.4, 69.1),
    'DNABERT-2': (63.5, 70.7),
    'NT-500M': (55.7, 72.2),
    'Caduceus': (64.2, 74.0),
    'Evo2-7B': (64.5, 74.3),
    'MergeDNA': (64.4, 74.5),
  },
)
_REMARK = (
  'AUROC, labels probably misaligned with the input: another task than that of '
  'our cells, not to be compared with them. The mean is recomputed here.'
)
_WHERE = (
  'cut windows with the site or a decoy in the centre from the data of '
  'SpliceAI (such as the export of github.com/AIRI-Institute/GENA_LM, whose '
  'labels start at base 5,000), in train.csv, dev.csv and test.csv with the '
  'columns sequence and label (1 is a site)'
)


def get_table(
  data: pathlib.Path, out: pathlib.Path, tier: str
) -> dict[str, Any]:
  """Data sets, runs, tasks and published values."""
  folder = data / 'splice_sites'
  note = sources.published_note(PUBLISHED, _REMARK, MEANS)
  return {
    **sources.frame(data, out, tier),
    'title': 'Life-Code: splice sites',
    'note': f'{sources.CELLS_NOTE}\n\n{note}',
    'needs': [(folder / site, _WHERE) for site in SITES],
    'tasks': {
      site: tasks.entry(
        'RNA',
        tasks.limited(
          tasks.classes(folder / site, metric='auroc'), tasks.LIMITS.get(tier)
        ),
      )
      for site in SITES
    },
  }
