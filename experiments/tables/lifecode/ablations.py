"""Which losses pay: masked modelling, + translation, + distillation.

Life-Code's own ablation (arXiv:2502.07299) seems to have columns of DNA,
protein and central-dogma tasks; its values are unknown, so none is quoted, and
the runs are ours: one size, equal steps, the same seeds. At the tiers smoke and
cpu the teacher is a stand-in, a protein language model of ours trained on the
proteins and translated CDS of the same data sets: it shows whether distilling
pays, not what a published teacher would give. The other tiers read ESM-2 650M.
"""

import pathlib
from typing import Any

from experiments.tables import tasks
from experiments.tables.lifecode import sources

PUBLISHED: tuple[sources.Published, ...] = ()

# Masked modelling alone: what every column changes one thing of.
MLM = {
  'objective.translation': 0.0,
  'objective.amino_acid_marginal': 0.0,
}
_SMOKE = ('pab1', 'secondary_structure')
_TASKS = (
  *('prom_core_tata', 'ncrna_family'),
  *('ecoli_abundance', 'avgfp', 'pab1', 'gb1', 'secondary_structure'),
  'central_dogma',
)
_NOTE = (
  'Columns: one size, equal steps, data and seeds; '
  '`random_weights` is the encoder of `mlm` untrained, `kmer` a regression on '
  'counts. A cell is the mean over the seeds, and from the lowest to the '
  'highest bound of their 95 % bootstrap intervals over test examples. '
  'Training, validation and test sets are cut to the sizes of this tier.'
)
_ESM2 = (
  'the teacher ESM-2 650M, as `huggingface-cli download '
  'facebook/esm2_t33_650M_UR50D` leaves it'
)


def get_table(
  data: pathlib.Path, out: pathlib.Path, tier: str
) -> dict[str, Any]:
  """Data sets, teacher, runs and tasks."""
  table = frame(data, out, tier)
  is_stand_in = tier in ('smoke', 'cpu')
  esm2 = data / 'esm2_t33_650M_UR50D'
  if is_stand_in:
    cache = str(out / 'teacher' / 'features')
    taught = {'data.features': cache, 'objective.teacher.path': cache}
  else:
    taught = {'objective.teacher.weights': str(esm2)}
  return {
    **table,
    'title': 'Life-Code: which losses pay',
    'note': (
      f'{_NOTE} `translation` adds translation and the residues of drawn '
      'codons, `distillation` also a teacher of proteins: '
      f'{"a stand-in of ours" if is_stand_in else "ESM-2 650M"}.'
    ),
    'steps': [
      *table['steps'],
      *(_teacher_steps(out, tier) if is_stand_in else ()),
    ],
    'needs': [] if is_stand_in else [(esm2, _ESM2)],
    'runs': {
      **table['runs'],
      # The run of the other tables.
      'translation': {**sources.pretraining(out, tier), 'run': 'pretrained'},
      'distillation': sources.pretraining(out, tier, ('distil',), taught),
    },
  }


def frame(data: pathlib.Path, out: pathlib.Path, tier: str) -> dict[str, Any]:
  """What the tables of ablations share, with the run that they start from."""
  return {
    **sources.frame(data, out, tier),
    'note': _NOTE,
    'runs': {'mlm': sources.pretraining(out, tier, changes=MLM)},
    'random_weights_of': 'mlm',
    'tasks': tasks.declare(data, tier, _SMOKE if tier == 'smoke' else _TASKS),
  }


def _teacher_steps(out: pathlib.Path, tier: str) -> list[sources.Object]:
  """Trains a protein language model, saves it, and keeps its features."""
  run, weights = out / 'teacher' / 'run', out / 'teacher' / 'weights'
  return [
    {
      'module': 'experiments.run',
      'arguments': [
        f'--config=experiments/lifecode/protein_lm.py:{tier}',
        f'--workdir={run}',
        f'--config.data.path={out / "data"}',
      ],
      'creates': 'teacher/run/finished.json',
    },
    {
      'module': 'lifecode.teacher.protein_lm',
      'arguments': [f'--workdir={run}', f'--out={weights}'],
      'creates': 'teacher/weights',
    },
    {
      'module': 'lifecode.teacher.cache',
      'arguments': [
        f'--data={out / "data"}',
        f'--weights={weights}',
        f'--out={out / "teacher" / "features"}',
      ],
      'creates': 'teacher/features',
    },
  ]
