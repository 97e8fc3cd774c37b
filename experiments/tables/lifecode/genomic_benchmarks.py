"""Genomic Benchmarks: eight tasks of DNA, linear probes.

A public summary of Life-Code (arXiv:2502.07299) names genomic benchmarks; its
values are unknown. Those quoted are of other models, whole and fine-tuned, in
the paper of the same group that followed it (MergeDNA, arXiv:2511.14806);
related, not ours. What we change: probes instead of fine-tuning, and a
validation set cut out of train, where the public code selects on test.

The published averages are of two kinds: GENERator and MergeDNA print the mean
of three groups, the others the mean of eight tasks. So no printed average is
here: both kinds are recomputed from the groups for every model. Which tasks
make a group is our reading of their number.
"""

import pathlib
from typing import Any

from experiments.tables import tasks
from experiments.tables.lifecode import sources

# Tasks of each group, in the names of the public collection.
GROUPS = {
  'enhancers': (
    'dummy_mouse_enhancers_ensembl',
    'human_enhancers_cohn',
    'human_enhancers_ensembl',
  ),
  'species': ('demo_coding_vs_intergenomic_seqs', 'demo_human_or_worm'),
  'regulatory': (
    'human_ensembl_regulatory',
    'human_nontata_promoters',
    'human_ocr_ensembl',
  ),
}
MEANS = {
  'mean of 8 tasks': {group: len(names) for group, names in GROUPS.items()},
  'mean of 3 groups': dict.fromkeys(GROUPS, 1),
}

PUBLISHED = sources.quoted(
  'MergeDNA (arXiv:2511.14806), table of Genomic Benchmarks; related',
  tuple(GROUPS),
  {
    'HyenaDNA': (80.88, 93.61, 88.89),
    'Caduceus-16': (79.96, 94.65, 85.97),
    'DNABERT': (80.14, 94.74, 83.42),
    'DNABERT-2': (82.81, 95.49, 86.33),
    'GENA-LM': (83.22, 95.11, 87.89),
    'NT-500M': (84.56, 96.64, 89.05),
    'VQDNA': (82.37, 95.79, 87.62),
    'MxDNA': (82.79, 96.46, 90.57),
    'ConvNova': (80.90, 95.50, 87.30),
    'GENERator': (84.87, 96.95, 90.30),
    'MergeDNA': (85.11, 96.84, 90.66),
  },
)
_REMARK = (
  'Top-1 accuracy of models fine-tuned whole, means of groups of tasks; the '
  'last two columns are recomputed here from the groups.'
)
_WHERE = (
  'get it from github.com/ML-Bioinfo-CEITEC/genomic_benchmarks and write '
  'train.csv, dev.csv (cut out of train) and test.csv with the columns '
  'sequence and label'
)


def get_table(
  data: pathlib.Path, out: pathlib.Path, tier: str
) -> dict[str, Any]:
  """Data sets, runs, tasks and published values."""
  note = sources.published_note(PUBLISHED, _REMARK, MEANS)
  folder = data / 'genomic_benchmarks'
  names = [name for group in GROUPS.values() for name in group]
  kept = names[:1] if tier == 'smoke' else names
  return {
    **sources.frame(data, out, tier),
    'title': 'Life-Code: Genomic Benchmarks',
    'note': f'{sources.CELLS_NOTE}\n\n{note}',
    'needs': [(folder / name, _WHERE) for name in kept],
    'tasks': {
      name: tasks.entry(
        'DNA',
        tasks.limited(
          tasks.classes(folder / name, metric='accuracy'),
          tasks.LIMITS.get(tier),
        ),
      )
      for name in kept
    },
  }
