"""GTA on human genes: features of Enformer, with every control.

GTA (arXiv:2410.01858) reports Spearman .65 on lymphoblastoid cells of Geuvadis,
10 % above Enformer, in the first version of its abstract alone; genes, split
and seeds are not known, so that no published value stands beside ours.
"""

import pathlib
from typing import Any

from experiments.gta import human
from experiments.tables.gta import folds

_NOTE = (
  'Genes of human chromosomes that were not trained on, in folds of whole '
  'chromosomes; genes like a tested one train nobody where the table of genes '
  'has clusters. `gta`: 112 sections of 1,024 bases of frozen features, said '
  'in words of a frozen language model behind a text about the gene, without '
  'sentences about expression. `attention_pool`: the same features, through a '
  'linear map and a weighted mean, to a value; `ridge_sections`: a ridge on '
  'their mean and on those around the start; `ridge_upstream`, `ridge_words`: '
  'on 5-mers upstream and on words of the text. The others change one thing '
  'of `gta`, see experiments/gta/controls.py. Enformer was trained on tracks '
  'at almost every human gene: with its features, a split by its own regions '
  '(data_pipelines.genes.folds:Regions) is the strict one. Intervals: 95 % '
  'bootstraps over clusters of genes, of the mean over folds.'
)
_BASELINES = {
  'ridge_sections': 'sections',
  'ridge_upstream': 'upstream',
  'ridge_words': 'words',
}
_SIZES = {
  'smoke': 'smoke',
  'cpu': 'gpt2',
  'gpu': 'llama3_1b',
  'pod': 'llama3_8b',
}


def get_table(
  data: pathlib.Path, out: pathlib.Path, tier: str
) -> dict[str, Any]:
  """Runs, as commands, and the page they make."""
  is_smoke = tier == 'smoke'
  size = _SIZES[tier]
  files = human.point_at(str(data / 'gta_human'))
  found = folds.table(
    out,
    'experiments/gta/human.py',
    human.get_config(size),
    size,
    ('gta', 'attention_pool') if is_smoke else ('gta', *human.CONTROLS),
    _BASELINES,
    files,
    num_folds=2 if is_smoke else 5,
  )
  return {
    **found,
    'needs': [
      (pathlib.Path(path), 'the table reads it') for path in files.values()
    ],
    'page': {
      **found['page'],
      'title': 'GTA: human, genes of held-out chromosomes',
      'note': _NOTE,
    },
  }
