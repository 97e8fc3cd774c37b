"""Tracks of human and mouse: long hybrid trunks beside Enformer's family.

Windows of 131,072 bases with tracks in bins of 32, as Borzoi was trained on;
a few dozen of them, so that no published value compares.
"""

import pathlib
from typing import Any

_NOTE = (
  'Windows of 131,072 bases, predicted along their middle 65,536; trained on '
  'the split `train`, scored on `valid` once, after a fixed number of steps: '
  'mean over the tracks of an assay of the Pearson correlation over bins of '
  'log(1 + coverage), with 95 % bootstraps over windows. `enformer`: a tower '
  "and transformer of Enformer's family (sizes ours); `hybrid`: our backbone "
  'behind the same tower; `filters`: it behind one layer of filters, pooled to '
  'bins of 32 bases. All have about as many parameters, none with weights from '
  'elsewhere. `ridge`: linear in CpG and GC at five sizes around '
  'a bin; `random_weights`: of the hybrid trunk.'
)
_GENOMES = {'human': ('hg38', 34), 'mouse': ('mm10', 15)}


def get_table(
  data: pathlib.Path, out: pathlib.Path, tier: str
) -> dict[str, Any]:
  """Runs, as commands, and the page they make."""
  size = 'smoke' if tier == 'smoke' else 'cpu'
  options = {
    'hybrid': size,
    'filters': f'{size},filters',
    'enformer': f'{size},enformer',
  }
  steps, runs = [], {}
  for genome, (folder, num_tracks) in _GENOMES.items():
    for column, arg in options.items():
      workdir = out / 'runs' / f'tracks-{genome}-{column}'
      runs.setdefault(genome, {})[column] = str(workdir)
      steps.append(
        {
          'module': 'experiments.run',
          'arguments': [
            f'--config=experiments/gta/tracks.py:{arg}',
            f'--workdir={workdir}',
            f'--config.data.path={data / "borzoi_windows" / folder}',
            f'--config.objective.num_tracks={num_tracks}',
          ],
          'creates': f'runs/{workdir.name}/finished.json',
        }
      )
  return {
    'steps': steps,
    'needs': [
      (data / 'borzoi_windows' / folder, 'windows with tracks')
      for folder, _ in _GENOMES.values()
    ],
    'page': {
      'name': 'gta.run_table:RunTable',
      'title': 'GTA: tracks of held-out windows',
      'note': _NOTE,
      'runs': runs,
      'shared': dict.fromkeys(_GENOMES, ('ridge', 'random_weights')),
      'split': 'validation',
    },
  }
