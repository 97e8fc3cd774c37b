"""GTA on planted enhancers: how far a model sees, and whether it says where."""

import pathlib
from typing import Any

from experiments.gta import enhancers

_NOTE = (
  'Simulated genes, each with one enhancer of 0 to 4 binding sites 0.5 to 7.7 '
  'kilobases away, on either side, evenly in the logarithm of the distance, '
  'and three clusters of another site, which do nothing. Beside expression the '
  'trunk learns what bases are bound, as tracks of chromatin tell, of those as '
  'of enhancers. Scored on genes of held-out contigs. First: '
  'correlations by how many bases on either side a model is trained on and '
  'sees; enhancers beyond them cannot be known. Then: how often the section of '
  '256 bases that matters most (of 64, but for the two at the promoter) is one '
  "that the enhancer is in, by the head's weights, by gradient times input, by "
  'occlusion, and by rollout of attention through the language model, beside '
  'the section with the most bound bases, one at the distance of another '
  "gene's enhancer and one drawn at random. "
  'Intervals: 95 % bootstraps over genes.'
)
_METHODS = (
  'section_weights',
  'gradient',
  'occlusion',
  'rollout',
  'most_bound',
  'distance_matched',
  'chance',
)


def get_table(
  data: pathlib.Path, out: pathlib.Path, tier: str
) -> dict[str, Any]:
  """Runs, as commands, and the page they make."""
  size = 'smoke' if tier == 'smoke' else 'cpu'
  contexts = enhancers.CONTEXTS[-1:] if tier == 'smoke' else enhancers.CONTEXTS
  language = data / 'tiny_lm_stories260k'
  folders = {
    f'{context:,} bases': out / 'runs' / f'enhancers-{context}'
    for context in contexts
  }
  return {
    'steps': [
      {
        'module': 'experiments.run',
        'arguments': [
          f'--config=experiments/gta/enhancers.py:{size},{context}',
          f'--workdir={folder}',
          *(
            f'--config.{key}={value}'
            for key, value in enhancers.point_at(str(language)).items()
          ),
        ],
        'creates': f'runs/{folder.name}/finished.json',
      }
      for context, folder in zip(contexts, folders.values(), strict=True)
    ],
    'needs': [(language, 'the language model')],
    'page': {
      'name': 'gta.run_table:RunTable',
      'title': 'GTA: planted enhancers',
      'note': _NOTE,
      'runs': {
        'by context': {name: str(path) for name, path in folders.items()},
        'all 8,192 bases': {'gta': str(folders[f'{contexts[-1]:,} bases'])},
      },
      'shared': {'all 8,192 bases': _METHODS},
    },
  }
