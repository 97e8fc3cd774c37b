"""One change of the model at a time: tokenizer, hybrid ratio, region labels.

None is known of Life-Code (arXiv:2502.07299); the list is ours, and no value is
quoted. All runs are masked modelling alone (`mlm` of lifecode/ablations) with
one thing changed: a vector for each codon instead of the learned merge; another
ratio of layers of the delta rule to those of softmax; no region embedding. The
small sizes have four layers, three to one, so that fewer ratios fit them.
"""

import pathlib
from typing import Any

from experiments.tables.lifecode import ablations, sources

PUBLISHED: tuple[sources.Published, ...] = ()

# Beside that of the size: 3 to 1 of the small ones, 5 to 1 of 350m.
_RATIOS = {'smoke': ('0to1',), 'cpu': ('1to1', '0to1')}
_LARGE_RATIOS = ('11to1', '3to1', '0to1')


def get_table(
  data: pathlib.Path, out: pathlib.Path, tier: str
) -> dict[str, Any]:
  """Data sets, runs and tasks."""
  table = ablations.frame(data, out, tier)

  def changed(*options: str, **fields: Any) -> sources.Object:
    changes = {
      **ablations.MLM,
      **{f'objective.model.{key}': value for key, value in fields.items()},
    }
    return sources.pretraining(out, tier, options, changes)

  return {
    **table,
    'title': 'Life-Code: parts of the model',
    'note': (
      f'{table["note"]} `lookup64` has a vector for each codon; `3to1` and '
      'the like are layers of the delta rule to those of softmax.'
    ),
    'runs': {
      **table['runs'],
      'lookup64': changed('lookup'),
      **{r: changed(r) for r in _RATIOS.get(tier, _LARGE_RATIOS)},
      'no_region_embedding': changed(region_embedding=False),
    },
  }
