"""What tables of Life-Code share: pretraining, data sets, published values."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from experiments.tables import genomes

Object = dict[str, Any]

# The fields of the run that a tier changes; the file's argument does the rest.
_STEPS = {'smoke': 12, 'cpu': 900, 'gpu': 20_000, 'pod': 100_000}

_UNITS = {
  'name': 'backbone.downstream.examples:UnitSample',
  'train': 15_000,
  'validation': 5_000,
}

CELLS_NOTE = (
  'Columns: the same encoder with random weights; logistic or ridge '
  'regression on counts (the kind chosen on validation is named); the '
  'encoder pretrained on genomes, their CDS, RNA and proteins (each genome '
  'as much as any other, the translation of seen and hidden codons). A cell '
  'is the mean over the seeds, each of which is a pretraining (or a random '
  'encoder) of its own, and from the lowest to the highest bound of their '
  '95 % bootstrap intervals over test examples. At the tiers smoke and cpu '
  'training, validation and test sets are cut.'
)


def frame(data: pathlib.Path, out: pathlib.Path, tier: str) -> Object:
  """What every table has: data sets, seeds, one pretraining, and cells."""
  is_smoke = tier == 'smoke'
  cells = {
    'encode': 'lifecode.model:encode',
    'probe': {
      'name': 'backbone.downstream.probe:ProbeConfig',
      'row_multiple': 96,
      **({} if tier in ('gpu', 'pod') else {'units': _UNITS}),
    },
  }
  return {
    'steps': genomes.steps(data, out, ('worm',) if is_smoke else ()),
    'seeds': (0,) if is_smoke else (0, 1, 2),
    'runs': {'pretrained': pretraining(out, tier)},
    'random_weights_of': 'pretrained',
    'contaminated_by': str(out / 'data'),
    'cells': {
      'probe': {'name': 'backbone.downstream.cells:Probes', **cells},
      **{
        evaluation: {
          'name': 'backbone.downstream.cells:FineTunes',
          **cells,
          'finetune': {**_finetune(tier), 'mode': mode},
        }
        for evaluation, mode in (('finetune', 'full'), ('lora', 'lora'))
      },
    },
  }


def _finetune(tier: str) -> Object:
  """All parameters; the small encoder takes ten times the learning rate."""
  name = {'name': 'backbone.downstream.finetune_config:FineTuneConfig'}
  if tier == 'smoke':
    return {**name, 'learning_rates': (1e-3,), 'epochs': 1}
  if tier == 'cpu':
    return {**name, 'learning_rates': (3e-4, 1e-3), 'epochs': 10}
  return {**name, 'learning_rates': (3e-5, 1e-4)}


def pretraining(
  out: pathlib.Path,
  tier: str,
  options: Sequence[str] = (),
  changes: Mapping[str, Any] | None = None,
) -> Object:
  """A run on the data sets of the table.

  Args:
    out: Where they are.
    tier: How large a run.
    options: Of `experiments/lifecode/pretrain.py`.
    changes: Fields of its configuration.
  """
  size = {'smoke': 'smoke', 'cpu': 'cpu'}.get(tier, '350m')
  arg = ','.join((size, *options))
  rows = 4 if tier == 'smoke' else 64
  return {
    'config': f'experiments/lifecode/pretrain.py:{arg}',
    'overrides': {
      'data.path': str(out / 'data'),
      'train.steps': _STEPS[tier],
      # Six genomes of 1 to 12 Mb: each is read as much as any other.
      'data.size_exponent': 0.0,
      # Hidden codons are few in a short run.
      'objective.translation_positions': 'all',
      'tables.masked_bits.max_rows': rows,
      'tables.residue_bits.max_rows': rows,
      **(changes or {}),
    },
  }


class Published(NamedTuple):
  """A value that somebody else reports; none is of Life-Code.

  Attributes:
    model: Who was measured.
    group: The task, or the tasks whose mean it is.
    value: As our metrics: between -1 and 1, not in percent.
    source: Where it stands, and how that is related to Life-Code.
  """

  model: str
  group: str
  value: float
  source: str


def quoted(
  source: str,
  groups: Sequence[str],
  values: Mapping[str, Sequence[float]],
  *,
  percent: bool = True,
) -> tuple[Published, ...]:
  """Rows of a published table: of each model, a value for each group."""
  scale = 100 if percent else 1
  return tuple(
    Published(model, group, round(value / scale, 6), source)
    for model, row in values.items()
    for group, value in zip(groups, row, strict=True)
  )


def beside(
  rows: Sequence[Published], tasks: Sequence[str]
) -> dict[str, list[Object]]:
  """The values of single tasks, for the lines of those tasks."""
  return {
    task: [row._asdict() for row in rows if row.group == task]
    for task in tasks
    if any(row.group == task for row in rows)
  }


def weighted_mean(
  rows: Sequence[Published], model: str, weights: Mapping[str, int]
) -> float:
  """Mean of a model's groups, each as often as it has tasks."""
  values = {row.group: row.value for row in rows if row.model == model}
  total = sum(values[group] * number for group, number in weights.items())
  return total / sum(weights.values())


def published_note(
  rows: Sequence[Published],
  remark: str,
  means: Mapping[str, Mapping[str, int]] | None = None,
) -> str:
  """Published values as a Markdown table of their own.

  Args:
    rows: Every model has all groups.
    remark: What keeps them from being compared with our cells.
    means: Columns to add: a name, and the weight of each group.
  """
  groups = list(dict.fromkeys(row.group for row in rows))
  means = means or {}
  lines = [['model', *groups, *means], ['---'] * (1 + len(groups) + len(means))]
  for model in dict.fromkeys(row.model for row in rows):
    values = [
      *(weighted_mean(rows, model, {group: 1}) for group in groups),
      *(weighted_mean(rows, model, weights) for weights in means.values()),
    ]
    lines.append([model, *(f'{value:.4f}' for value in values)])
  table = '\n'.join(f'| {" | ".join(line)} |' for line in lines)
  sources = '; '.join(dict.fromkeys(row.source for row in rows))
  return f'Published elsewhere ({sources}). {remark}\n\n{table}'
