"""Tracks of human and mouse: long hybrid trunks beside Enformer's family.

Windows of 131,072 bases with tracks in bins of 32, as Borzoi was trained on;
a few dozen of them, so that no published value compares.
"""

import pathlib
from typing import Any

_NOTE = (
  'Windows of 131,072 bases; a trunk reads the middle 81,920 of each and '
  'predicts along the middle 65,536. It learns the windows of both genomes in '
  'the split `train`, and is scored on `valid` once, after a fixed number of '
  'steps: mean over the tracks of an assay of the Pearson correlation over '
  'bins of log(1 + coverage), with 95 % bootstraps over windows. `hybrid`: '
  "our backbone behind a tower of Enformer's family (sizes ours); "
  '`enformer`: a transformer of that family behind the same tower. Both have '
  'about as many parameters, none with weights from elsewhere; both read the '
  "ridge's own features beside the bases, in the trunk and in a linear term. "
  '`ridge`: linear in CpG and GC at five sizes around a bin, 128 to 32,768 '
  'bases, fitted to each genome. A seed draws weights, order and strands.'
)
_SEEDS = (0, 1, 2)
_GENOMES = {'human': 'hg38', 'mouse': 'mm10'}


def get_table(
  data: pathlib.Path, out: pathlib.Path, tier: str
) -> dict[str, Any]:
  """Runs, as commands, and the page they make."""
  size = 'smoke' if tier == 'smoke' else 'cpu'
  options = {'hybrid': size, 'enformer': f'{size},enformer'}
  folders = {
    genome: data / 'borzoi_windows' / folder
    for genome, folder in _GENOMES.items()
  }
  runs = {
    seed: {
      column: out / 'runs' / f'tracks-{column}-{seed}' for column in options
    }
    for seed in (_SEEDS[:1] if tier == 'smoke' else _SEEDS)
  }
  return {
    'steps': [
      {
        'module': 'experiments.run',
        'arguments': [
          f'--config=experiments/gta/tracks.py:{options[column]}',
          f'--workdir={folder}',
          f'--config.seed={seed}',
          f'--config.data.seed={seed}',
          *(
            f'--config.data.genomes.{genome}.path={path}'
            for genome, path in folders.items()
          ),
        ],
        'creates': f'runs/{folder.name}/finished.json',
      }
      for seed, columns in runs.items()
      for column, folder in columns.items()
    ],
    'at_once': 2,
    'needs': [(folder, 'windows with tracks') for folder in folders.values()],
    'page': {
      'name': 'gta.run_table:RunTable',
      'title': 'GTA: tracks of held-out windows',
      'note': _NOTE,
      'runs': {
        f'valid, seed {seed}': {c: str(folder) for c, folder in columns.items()}
        for seed, columns in runs.items()
      },
      'shared': {f'valid, seed {seed}': ('ridge',) for seed in runs},
      'split': 'validation',
    },
  }
