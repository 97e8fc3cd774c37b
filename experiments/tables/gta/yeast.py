"""GTA on yeast: mRNA of genes of held-out chromosomes, with every control.

GTA (arXiv:2410.01858) is of human cells and reports Spearman .65 across genes
of Geuvadis lymphoblastoid cells, in the first version of its abstract alone;
nothing of it is of yeast, so that no published value stands beside ours.
"""

import pathlib
from typing import Any

from experiments.gta import controls, yeast
from experiments.tables.gta import folds

_NOTE = (
  'Genes of S. cerevisiae with a measured mRNA (log10(1 + TPM)), in folds of '
  'whole chromosomes; genes of the training chromosomes that are like a '
  'tested one (5-mers of residues) train nobody. Columns that begin with '
  '`ridge` are linear models on frequencies of codons, 5-mers of 500 bases '
  'upstream, words of the text (TF-IDF), or codons and words. `gta`: sections '
  'of 3,264 bases around the start codon, said in words of a frozen language '
  'model of 264,000 parameters (stories260K), behind what SGD says of the '
  'gene, without sentences about expression. The others change one thing: no '
  'language model between alignment and head, and so no text (`no_llm`), one '
  'of random weights (`random_llm`), one trained layer of attention over the '
  "words' embeddings and the sections in its place (`attention`), "
  'a linear map for the alignment (`linear`), prototypes of noise '
  '(`random_prototypes`), no text (`no_prompt`), the text of another gene '
  '(`shuffled_prompt`), or no sequence (`text_only`). Trained for a fixed '
  'number of steps. Intervals: 95 % bootstraps over clusters of genes, of the '
  'mean over folds.'
)
_BASELINES = {
  'ridge_codons': 'codons',
  'ridge_upstream': 'upstream',
  'ridge_words': 'words',
  'ridge_codons_and_words': 'codons_and_words',
}


def get_table(
  data: pathlib.Path, out: pathlib.Path, tier: str
) -> dict[str, Any]:
  """Runs, as commands, and the page they make."""
  is_smoke = tier == 'smoke'
  size = 'smoke' if is_smoke else 'cpu'
  files = {
    **yeast.point_at(
      str(data / 'yeast_s288c'), str(data / 'tiny_lm_stories260k')
    ),
    'data.prompt_reader.folder': str(out / 'prompts'),
  }
  found = folds.table(
    out,
    'experiments/gta/yeast.py',
    yeast.get_config(size),
    size,
    ('gta', 'no_llm') if is_smoke else ('gta', *controls.CONTROLS),
    _BASELINES,
    files,
    num_folds=2 if is_smoke else 5,
    at_once=2,
  )
  return {
    **found,
    'needs': [
      (pathlib.Path(path), 'the table reads it')
      for key, path in files.items()
      if key.startswith(('data.genes', 'data.tokenizer', 'objective.'))
    ],
    'page': {
      **found['page'],
      'title': 'GTA: yeast, genes of held-out chromosomes',
      'note': _NOTE,
    },
  }
