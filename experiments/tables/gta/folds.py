"""What tables of held-out genes share: every control in every fold."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

DIFFERENCES = (
  ('gta', 'no_llm', 'language model and text'),
  ('no_prompt', 'no_llm', 'language model, without text'),
  ('gta', 'random_llm', 'what the language model learnt'),
  ('gta', 'attention', 'language model instead of a trained layer'),
  ('gta', 'attention_pool', 'everything beside pooled features'),
  ('gta', 'no_prompt', 'text'),
  ('gta', 'shuffled_prompt', 'the right text'),
  ('gta', 'text_only', 'sequence'),
  ('gta', 'linear', 'attention to prototypes'),
  ('gta', 'random_prototypes', 'words as prototypes'),
  ('gta', 'ridge_codons', 'beside codons alone'),
  ('gta', 'ridge_codons_and_words', 'beside codons and words'),
  ('gta', 'ridge_sections', 'beside a linear model of the features'),
)


def table(
  out: pathlib.Path,
  experiment: str,
  config: ConfigDict,
  size: str,
  columns: Sequence[str],
  baselines: Mapping[str, str],
  files: Mapping[str, Any],
  num_folds: int,
  at_once: int = 0,
) -> dict[str, Any]:
  """Runs, as commands, and all of their page but its title and note.

  Args:
    out: Folder of runs.
    experiment: Its file.
    config: Of `size`.
    size: Of the experiment, as the argument of its file.
    columns: Controls, or 'gta' for none.
    baselines: By column, `features` of gta.ridge:RidgeOnCounts.
    files: Overrides of `config` that all runs have.
    num_folds: Of chromosomes.
    at_once: Runs beside each other, for those that keep one core busy; 0 shows
      what each prints.
  """
  for key, value in files.items():
    *parents, last = key.split('.')
    found = config
    for parent in parents:
      found = found[parent]
    found[last] = value
  genes = {**config.data.to_dict(), 'tokenizer': None, 'prompt_reader': None}

  def workdir(column: str, fold: int) -> pathlib.Path:
    return out / 'runs' / f'{pathlib.Path(experiment).stem}-{column}-{fold}'

  def step(column: str, fold: int) -> dict[str, Any]:
    arg = size if column == 'gta' else f'{size},{column}'
    folder = workdir(column, fold)
    split = {'data.split.num_folds': num_folds, 'data.split.fold': fold}
    changes = {**files, **split}
    return {
      'module': 'experiments.run',
      'arguments': [
        f'--config={experiment}:{arg}',
        f'--workdir={folder}',
        *(f'--config.{key}={value}' for key, value in changes.items()),
      ],
      'creates': f'runs/{folder.name}/finished.json',
    }

  known = {*columns, *baselines}
  folds = range(num_folds)
  return {
    'steps': [step(column, fold) for fold in folds for column in columns],
    **({'at_once': at_once} if at_once else {}),
    'page': {
      'name': 'gta.comparison:Comparison',
      'data': [
        {**genes, 'split': {**genes['split'], **_fold(fold, num_folds)}}
        for fold in folds
      ],
      'runs': {
        column: [str(workdir(column, fold)) for fold in folds]
        for column in columns
      },
      'baselines': {
        column: {'name': 'gta.ridge:RidgeOnCounts', 'features': features}
        for column, features in baselines.items()
      },
      'differences': [
        difference for difference in DIFFERENCES if set(difference[:2]) <= known
      ],
    },
  }


def _fold(fold: int, num_folds: int) -> dict[str, int]:
  return {'fold': fold, 'num_folds': num_folds}
