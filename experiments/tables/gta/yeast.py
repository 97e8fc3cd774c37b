"""GTA on yeast: mRNA of genes of held-out chromosomes, with every control.

GTA (arXiv:2410.01858) is of human cells and reports Spearman .65 across genes
of Geuvadis lymphoblastoid cells, in the first version of its abstract alone;
nothing of it is of yeast, so that no published value stands beside ours.
"""

import pathlib
from typing import Any

from experiments.gta import yeast

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
_DIFFERENCES = (
  ('gta', 'no_llm', 'language model and text'),
  ('no_prompt', 'no_llm', 'language model, without text'),
  ('gta', 'random_llm', 'what the language model learnt'),
  ('gta', 'attention', 'language model instead of a trained layer'),
  ('gta', 'no_prompt', 'text'),
  ('gta', 'shuffled_prompt', 'the right text'),
  ('gta', 'text_only', 'sequence'),
  ('gta', 'linear', 'attention to prototypes'),
  ('gta', 'random_prototypes', 'words as prototypes'),
  ('gta', 'ridge_codons', 'beside codons alone'),
  ('gta', 'ridge_codons_and_words', 'beside codons and words'),
)


def get_table(
  data: pathlib.Path, out: pathlib.Path, tier: str
) -> dict[str, Any]:
  """Runs, as commands, and the page they make."""
  size = 'smoke' if tier == 'smoke' else 'cpu'
  folds = range(2 if tier == 'smoke' else 5)
  columns = {'gta': (), **{control: (control,) for control in yeast.CONTROLS}}
  if tier == 'smoke':
    columns = {name: columns[name] for name in ('gta', 'no_llm')}
  files = {
    **yeast.point_at(
      str(data / 'yeast_s288c'), str(data / 'tiny_lm_stories260k')
    ),
    'data.prompt_reader.folder': str(out / 'prompts'),
    'data.split.num_folds': len(folds),
  }
  config = yeast.get_config(size)
  genes = {**config.data.to_dict(), 'tokenizer': None, 'prompt_reader': None}
  genes['genes'] = {
    **genes['genes'],
    'genome': files['data.genes.genome'],
    'annotation': files['data.genes.annotation'],
    'measured': files['data.genes.measured'],
    'texts': {
      **genes['genes']['texts'],
      'path': files['data.genes.texts.path'],
    },
  }
  known = set(columns) | set(_BASELINES)
  return {
    'steps': [
      _run(out, ','.join((size, *options)), name, fold, files)
      for fold in folds
      for name, options in columns.items()
    ],
    'needs': [
      (pathlib.Path(path), 'the table reads it')
      for key, path in files.items()
      if key.startswith(('data.genes', 'data.tokenizer', 'objective.'))
    ],
    'page': {
      'name': 'gta.comparison:Comparison',
      'title': 'GTA: yeast, genes of held-out chromosomes',
      'note': _NOTE,
      'data': [
        {
          **genes,
          'split': {
            **genes['split'],
            'fold': fold,
            'num_folds': len(folds),
          },
        }
        for fold in folds
      ],
      'runs': {
        name: [str(_folder(out, name, fold)) for fold in folds]
        for name in columns
      },
      'baselines': {
        name: {'name': 'gta.ridge:RidgeOnCounts', 'features': features}
        for name, features in _BASELINES.items()
      },
      'differences': [
        difference
        for difference in _DIFFERENCES
        if set(difference[:2]) <= known
      ],
    },
  }


def _folder(out: pathlib.Path, name: str, fold: int) -> pathlib.Path:
  return out / 'runs' / f'gta-{name}-{fold}'


def _run(
  out: pathlib.Path,
  arg: str,
  name: str,
  fold: int,
  files: dict[str, Any],
) -> dict[str, Any]:
  workdir = _folder(out, name, fold)
  changes = {**files, 'data.split.fold': fold}
  return {
    'module': 'experiments.run',
    'arguments': [
      f'--config=experiments/gta/yeast.py:{arg}',
      f'--workdir={workdir}',
      *(f'--config.{key}={value}' for key, value in changes.items()),
    ],
    'creates': f'runs/{workdir.name}/finished.json',
  }
