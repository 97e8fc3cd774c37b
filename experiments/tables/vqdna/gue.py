"""GUE by VQDNA: fine-tuning, 28 tasks; at the tiers smoke and cpu 2 and 7.

VQDNA (arXiv:2405.10812) reports GUE with MCC, the mean of three runs. Published
values: of DNABERT-2 (arXiv:2306.15006) its own; of VQDNA (HRQ) as BioArc
(arXiv:2512.00283) and MergeDNA (arXiv:2511.14806) quote its tables, and those
with a question mark from memory, which nothing at hand confirms. What we change
at the tier cpu: a vocabulary of 1.7 M parameters and an encoder of 0.9 M.
"""

import pathlib
from typing import Any

from experiments.tables import gue
from experiments.tables.vqdna import sources

# DNABERT-2 and VQDNA (HRQ), MCC x 100.
_PUBLISHED = {
  'tf/0': (71.99, 72.48),
  'tf/1': (76.06, 76.43),
  'tf/2': (66.52, 66.85),
  'tf/3': (58.54, 58.92),
  'tf/4': (77.43, 78.10),
  'mouse/0': (56.76, 58.34),
  'mouse/1': (84.77, 85.81),
  'mouse/2': (79.32, 80.39),
  'mouse/3': (66.47, 69.72),
  'mouse/4': (52.66, 54.74),
  'prom/prom_core_all': (69.37, 71.02),
  'prom/prom_core_notata': (68.04, 70.58),
  'prom/prom_core_tata': (74.17, 78.50),
  'prom/prom_300_all': (86.77, 90.75),
  'prom/prom_300_notata': (94.27, 94.48),
  'prom/prom_300_tata': (71.59, 74.52),
  'splice/reconstructed': (84.99, 89.53),
  'EMP/H3': (78.27, 79.21),
  'EMP/H3K14ac': (52.57, 54.46),
  'EMP/H3K36me3': (56.88, 61.75),
  'EMP/H3K4me1': (50.52, 53.28),
  'EMP/H3K4me2': (31.13, 34.05),
  'EMP/H3K4me3': (36.27, 39.10),
  'EMP/H3K79me3': (67.39, 68.47),
  'EMP/H3K9ac': (55.63, 56.63),
  'EMP/H4': (80.71, 81.84),
  'EMP/H4ac': (50.43, 50.69),
}

_NOTE = (
  'Columns: the same encoder with random weights on the same vocabulary; '
  'logistic regression on counts of k-mers (k of 3 to 6, of one strand or '
  'both, chosen on validation), and on those of 5-mers of one strand; an '
  'encoder pretrained and tuned on single bases; the encoder of the learnt '
  'vocabulary; a convolutional network on single bases, not pretrained. All '
  'networks read both strands. The '
  'vocabulary is one draw. Intervals are 95 % bootstraps over test examples. '
  'Published: DNABERT-2 (117 M parameters, arXiv:2306.15006, its table of '
  'results) and VQDNA (103 M, arXiv:2405.10812, as BioArc, arXiv:2512.00283, '
  'quotes it, splice sites as MergeDNA, arXiv:2511.14806, does; with a '
  'question mark: quoted from memory, unverified). The covid task, published '
  'in F1, has no published value here.'
)


def get_table(
  data: pathlib.Path, out: pathlib.Path, tier: str
) -> dict[str, Any]:
  """Data sets, runs, tasks and published values."""
  folders = gue.folders(tier)
  return {
    **sources.frame(data, out, tier, (sources.vocabulary(out, tier),)),
    'title': f'VQDNA: GUE, {len(folders)} of {gue.NUM_TASKS} tasks',
    'note': _NOTE,
    'runs': {
      'character': sources.pretraining(out, tier, 'characters'),
      'vqdna': sources.pretraining(out, tier),
    },
    'random_weights_of': 'vqdna',
    'untrained': {'cnn': sources.CNN},
    'counts': {
      '5-mers': {
        'name': 'backbone.downstream.kmer:KmerConfig',
        'ks': (5,),
        'has_strands': False,
      }
    },
    **sources.gue_tasks(data, folders, tier),
    'published_columns': {
      f'{model}_published': {
        gue.name(folder): _quoted(folder, model, values[at])
        for folder, values in _PUBLISHED.items()
        if folder in folders
      }
      for at, model in enumerate(('dnabert2', 'vqdna'))
    },
  }


def _quoted(folder: str, model: str, percent: float) -> str:
  is_unverified = model == 'vqdna' and folder.startswith(('mouse/', 'EMP/'))
  return f'{percent / 100:.3f}{"?" if is_unverified else ""}'
