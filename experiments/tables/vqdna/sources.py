"""What tables of VQDNA share: vocabularies, pretraining, fine-tuning."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.tables import genomes, gue, tasks

Object = dict[str, Any]

# Of vocabularies that only serve a comparison, whose own tables no page shows.
FEW_ROWS = {'tables.leak.num_examples': 400, 'tables.health.max_rows': 16}
STEPS = {'smoke': 12, 'cpu': 300, 'gpu': 20_000, 'pod': 500_000}
CNN = {
  'model': {'name': 'backbone.downstream.cnn:CNNConfig'},
  'encode': 'backbone.downstream.cnn:encode',
}


def frame(
  data: pathlib.Path,
  out: pathlib.Path,
  tier: str,
  vocabularies: Sequence[Object],
) -> Object:
  """Data sets, vocabularies, seeds and what a cell is.

  Args:
    data: Labelled data and genomes.
    out: Where all is made.
    tier: How large.
    vocabularies: Steps that learn them.
  """
  return {
    'steps': [
      *genomes.steps(data, out, ('worm',) if tier == 'smoke' else ()),
      *vocabularies,
    ],
    'seeds': (0, 1, 2) if tier in ('gpu', 'pod') else (0,),
    'cells': {
      **{
        evaluation: {
          'name': 'backbone.downstream.cells:FineTunes',
          'encode': 'vqdna.encode:encode',
          'finetune': {**_finetune(tier), 'mode': mode},
        }
        for evaluation, mode in (('finetune', 'full'), ('lora', 'lora'))
      },
      'probe': {
        'name': 'backbone.downstream.cells:Probes',
        'encode': 'vqdna.encode:encode',
      },
    },
    'evaluation': 'finetune',
    'contaminated_by': str(out / 'data'),
  }


def gue_tasks(data: pathlib.Path, folders: Sequence[str], tier: str) -> Object:
  """Tasks of GUE, cut at the tier smoke, and the folders they need.

  Args:
    data: Labelled data.
    folders: Of the tasks, below its folder `gue`.
    tier: How large.
  """
  limits = tasks.LIMITS.get(tier) if tier == 'smoke' else None
  return {
    'needs': [(data / 'gue' / folder, gue.WHERE) for folder in folders],
    'tasks': {
      gue.name(folder): tasks.entry(
        'DNA', tasks.limited(tasks.gue(data, folder), limits)
      )
      for folder in folders
    },
  }


def vocabulary(
  out: pathlib.Path,
  tier: str,
  *options: str,
  name: str = 'vocabulary',
  changes: Mapping[str, Any] | None = None,
) -> Object:
  """Stage 1, as a command.

  Args:
    out: Where it is made.
    tier: How large.
    options: Of experiments/vqdna/tokenizer.py.
    name: Of its folder.
    changes: Fields of its configuration.
  """
  size = {'smoke': 'smoke', 'cpu': 'cpu'}.get(tier, '16m')
  return {
    'module': 'experiments.run',
    'arguments': [
      f'--config=experiments/vqdna/tokenizer.py:{",".join((size, *options))}',
      f'--workdir={out / name}',
      f'--config.data.path={out / "data"}',
      *(f'--config.{key}={value}' for key, value in (changes or {}).items()),
    ],
    'creates': f'{name}/vocabulary/vocabulary.json',
  }


def pretraining(
  out: pathlib.Path,
  tier: str,
  *options: str,
  name: str = 'vocabulary',
  changes: Mapping[str, Any] | None = None,
) -> Object:
  """Stage 2, on the words of a vocabulary unless an option has its own.

  Args:
    out: Where data and vocabularies are.
    tier: How large.
    options: Of experiments/vqdna/pretrain.py.
    name: Of the vocabulary.
    changes: Fields of its configuration.
  """
  size = {'smoke': 'smoke', 'cpu': 'cpu'}.get(tier, '103m')
  overrides = {'data.path': str(out / 'data'), 'train.steps': STEPS[tier]}
  if tier == 'gpu':
    # Published are 30,000 of 500,000.
    overrides['optimizer.warmup_steps'] = STEPS[tier] // 16
  if not {'characters', 'sixmers'} & set(options):
    overrides['objective.tokens.path'] = str(out / name / 'vocabulary')
  return {
    'config': f'experiments/vqdna/pretrain.py:{",".join((size, *options))}',
    'overrides': {**overrides, **(changes or {})},
  }


def _finetune(tier: str) -> dict[str, Any]:
  shared = {
    'name': 'backbone.downstream.finetune_config:FineTuneConfig',
    'both_strands': True,
    'has_maximum': True,
  }
  if tier == 'smoke':
    return {**shared, 'learning_rates': (1e-3,), 'epochs': 1}
  if tier == 'cpu':
    return {
      **shared,
      'learning_rates': (2e-3,),
      'weight_decay': 1.0,
      'epochs': 4,
      'min_updates': 400,
      'patience': 4,
      'average': 0.99,
      'batches': {
        'name': 'backbone.downstream.batches:BatchShape',
        'batch_size': 128,
        'num_lengths': 1,
      },
    }
  return {**shared, 'learning_rates': (3e-5, 1e-4), 'average': 0.99}
