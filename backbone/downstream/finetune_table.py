"""Fine-tuned encoders beside the same from random weights, over seeds."""

import dataclasses
import itertools
from collections.abc import Iterable

from flax import nnx

from backbone.downstream import table
from backbone.downstream.finetune import evaluate
from backbone.downstream.finetune_config import FineTuneConfig
from backbone.downstream.probe import Encode
from data_pipelines.tasks import Task

_COLUMN = {'full': 'fine_tuned', 'lora': 'lora', 'frozen': 'frozen'}
_BOTH = (FineTuneConfig(mode='full'), FineTuneConfig(mode='lora'))


def run(
  tasks: Iterable[Task],
  encode: Encode,
  model: nnx.Module,
  random_model: nnx.Module | None,
  seeds: tuple[int, ...],
  name: str,
  configs: tuple[FineTuneConfig, ...] = _BOTH,
) -> list[table.Row]:
  """Rows of the table `name`: per task each of `configs` with every seed.

  Columns are 'fine_tuned', 'lora' and 'frozen' by mode; with a `random_model`
  also 'fine_tuned_random_weights' and so on. `FineTuneConfig.seed` is not used.
  """
  models = {'': model}
  if random_model is not None:
    models['_random_weights'] = random_model
  rows = []
  for task, config, (suffix, encoder), seed in itertools.product(
    tasks, configs, models.items(), seeds
  ):
    seeded = dataclasses.replace(config, seed=seed)
    score, _ = evaluate(task, encode, encoder, seeded)
    column = _COLUMN[config.mode] + suffix
    rows.append(
      table.row(name, task.name, task.metric, column, score, seed=seed)
    )
  return rows
