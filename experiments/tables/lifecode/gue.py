"""GUE: 28 tasks of DNA, linear probes; 7 of them at the tiers smoke and cpu.

GUE is likely among the tables of Life-Code (arXiv:2502.07299), as the papers of
the same group report it; its values are unknown. Those quoted are of other
models, fine-tuned, in the group's next paper (MergeDNA, arXiv:2511.14806);
related, not ours. What we change: probes instead of fine-tuning, and MCC for
all tasks, where the COVID variants are reported in F1.

The published averages are of two kinds: HybriDNA and MergeDNA print the mean of
seven groups, the others that of 24 tasks (three of each five of transcription
factors). So no printed average is here: both kinds are recomputed from the
groups for every model, the tasks counted as GUE has them.
"""

import pathlib
from typing import Any

from experiments.tables import gue, tasks
from experiments.tables.lifecode import sources

MEANS = {
  'mean of 28 tasks': {
    group: len(names) for group, names in gue.GROUPS.items()
  },
  'mean of 7 groups': dict.fromkeys(gue.GROUPS, 1),
}

PUBLISHED = sources.quoted(
  'MergeDNA (arXiv:2511.14806), table of GUE; related',
  tuple(gue.GROUPS),
  {
    'DNABERT-2': (55.98, 70.11, 67.99, 70.53, 84.21, 84.99, 71.02),
    'NT-2.5B-multi': (58.06, 63.34, 67.02, 71.63, 88.15, 89.35, 73.04),
    'VQDNA': (57.95, 70.56, 69.80, 73.37, 86.58, 89.53, 74.32),
    'HybriDNA-7B': (63.05, 72.89, 78.02, 71.37, 85.53, 90.09, 74.02),
    'MergeDNA': (68.82, 72.24, 73.21, 73.41, 87.73, 89.95, 74.41),
  },
)
_REMARK = (
  'Means of groups of tasks, models fine-tuned whole; MCC, of COVID variants '
  'F1. The last two columns are recomputed here from the groups.'
)


def get_table(
  data: pathlib.Path, out: pathlib.Path, tier: str
) -> dict[str, Any]:
  """Data sets, runs, tasks and published values."""
  folders = gue.folders(tier)
  part = (
    f'{len(folders)} of the {gue.NUM_TASKS} tasks of GUE; the covid task is '
    'scored by MCC here, by F1 elsewhere.'
  )
  published = sources.published_note(PUBLISHED, _REMARK, MEANS)
  return {
    **sources.frame(data, out, tier),
    'title': f'Life-Code: GUE, {len(folders)} of {gue.NUM_TASKS} tasks',
    'note': f'{sources.CELLS_NOTE} {part}\n\n{published}',
    'needs': gue.needs(data, tier),
    'tasks': {
      gue.name(folder): tasks.entry(
        'DNA',
        tasks.limited(tasks.gue(data, folder), tasks.LIMITS.get(tier)),
      )
      for folder in folders
    },
  }
