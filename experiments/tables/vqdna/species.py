"""Species classification by VQDNA: linear probes of windows of 1 to 32 kb.

The task is HyenaDNA's (arXiv:2306.15794) of five mammals, which VQDNA
(arXiv:2405.10812) reports, whole backbones tuned. Its genomes are not at hand:
here six species that are, of three kingdoms, which is easier; so no published
value stands beside ours.
"""

import pathlib
from typing import Any

from experiments.tables import genomes, tasks
from experiments.tables.vqdna import sources

# Bases of a window: windows of each species to train, tune and test on.
_LENGTHS = {1_024: (200, 50, 100), 8_192: (60, 15, 40), 32_768: (24, 6, 16)}
_NOTE = (
  'Windows of E. coli, yeast, worm, fly, cress and human; the last fifth of '
  'each genome tests. The encoder was pretrained on the same genomes, without '
  'their names; how many test windows it has seen is counted below. Accuracy. '
  'Published for five mammals (top-1, '
  'whole models tuned; VQDNA, arXiv:2405.10812, its Table 6 as a survey quotes '
  'it), at 1 k, 20 k and 32 k bases: HyenaDNA 61.13, 87.42, 93.42; DNABERT-2 '
  '61.04, 86.83, 99.28; VQDNA 61.57, 88.05, 99.46. Not to be compared with '
  'ours.'
)


def get_table(
  data: pathlib.Path, out: pathlib.Path, tier: str
) -> dict[str, Any]:
  """Data sets, vocabulary, runs and tasks."""
  lengths = (1_024,) if tier == 'smoke' else tuple(_LENGTHS)
  paths = genomes.files(data)
  return {
    **sources.frame(data, out, tier, (sources.vocabulary(out, tier),)),
    'evaluation': 'probe',
    'title': 'VQDNA: species',
    'note': _NOTE,
    'runs': {
      'character': sources.pretraining(out, tier, 'characters'),
      'vqdna': sources.pretraining(out, tier),
    },
    'random_weights_of': 'vqdna',
    'needs': [
      (path, 'a genome to tell from others') for path in paths.values()
    ],
    'tasks': {
      f'species_{length}': tasks.entry(
        'DNA', _windows(paths, length, tier == 'smoke')
      )
      for length in lengths
    },
  }


def _windows(
  paths: dict[str, pathlib.Path], length: int, is_smoke: bool
) -> dict[str, Any]:
  train, validation, test = (8, 4, 4) if is_smoke else _LENGTHS[length]
  return {
    'name': 'data_pipelines.tasks.species:SpeciesWindows',
    'genomes': {species: str(path) for species, path in paths.items()},
    'length': length,
    'task_name': f'species_{length}',
    'train': train,
    'validation': validation,
    'test': test,
  }
