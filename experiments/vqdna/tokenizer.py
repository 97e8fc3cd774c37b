"""VQDNA, stage 1: a vocabulary learnt by rebuilding genomes.

  python -m experiments.run --config=experiments/vqdna/tokenizer.py:cpu \
      --config.data.path=DIR --workdir=W

DIR holds data sets made by `python -m data_pipelines.build omics`.
Paper: VQDNA (arXiv:2405.10812); what is published of its settings, and what is
our choice, is in vqdna/README.md.

  :smoke  a dozen steps of a tiny model, seconds; checks that all parts fit
  :cpu    1.7 M parameters, 512 + 1,024 codes, 2 cores
  :16m    the published sizes, batch and rate, 8 GPUs or a TPU slice; not yet
          run

Arms change one thing each, by words behind the size, as in `:cpu,no_revival`:

  vq          one codebook of 512, at the last block: the plain VQ-VAE
  fsq         finite scalar quantisation instead of codebooks
  no_revival  dead codes stay dead
  uniform     codes start at random, not on the first batch
  rotation    the rotation trick instead of the straight-through gradient
  stride3     three bases a token
  masked      spans of bases are hidden from the encoder
"""

from typing import Any

from ml_collections import ConfigDict, FieldReference

from experiments import common

_OPTIONS = (
  'vq',
  'fsq',
  'no_revival',
  'uniform',
  'rotation',
  'stride3',
  'masked',
)
# Stem, width and blocks; codes of each level; how codes follow and come back.
# A batch has 16 bases a code here and 512 in the published one: codes that are
# assigned an eighth of that are dead, and 100 steps must not pass before.
_SIZES = {
  'smoke': (8, 16, 2, (16, 32), {'decay': 0.95, 'revive_below': 1.0}),
  'cpu': (64, 128, 6, (512, 1_024), {'decay': 0.95, 'revive_below': 2.0}),
  '16m': (256, 384, 6, (1_024, 2_048), {'decay': 0.99, 'revive_below': 64.0}),
}


def get_config(arg: str = 'cpu') -> ConfigDict:
  name, *options = arg.split(',')
  size = common.choose(name, tuple(_SIZES))
  options = [common.choose(option, _OPTIONS) for option in options]
  stem_width, width, num_blocks, codes, level = _SIZES[size]
  config = ConfigDict()
  config.title = f'VQDNA vocabulary, {arg}'
  config.seed = 0
  config.data = {
    'name': 'data_pipelines.pipeline:Shards',
    'path': '',
    'row_length': 510,
    'batch_size': 16,
    'seed': 0,
    'num_workers': 0,
    'weights': {'genome': 1.0, 'cds': 0.0, 'rna': 0.0, 'protein': 0.0},
    'size_exponent': 0.5,
  }
  config.objective = {
    'name': 'vqdna.objective:VocabularyLearning',
    'network': {
      'name': 'vqdna.network:NetworkConfig',
      'stem_width': stem_width,
      'width': width,
      'num_blocks': num_blocks,
      'taps': (num_blocks // 2, num_blocks),
      'token_stride': 1,
    },
    'commitment': 0.5,
  }
  config.optimizer = {
    'name': 'backbone.train.optim:AdamW',
    'learning_rate': 1e-3,
    'warmup_steps': 50,
  }
  config.train = {
    'steps': 400,
    'log_every': 10,
    'evaluate_every': 100,
    'evaluate_rows': 64,
    'checkpoint_every': 100,
    'bases_per_token': 1,
  }
  config.mesh = {'data': -1, 'seq': 1, 'model': 1}
  config.tables = {
    'health': {
      'name': 'vqdna.health:Health',
      'split': 'test',
      'max_rows': 192,
    },
    'leak': {'name': 'vqdna.leak:Leak', 'num_examples': 6_000},
    'vocabulary': {'name': 'vqdna.vocabulary:Export'},
  }
  if size == 'smoke':
    config.data.update(row_length=96, batch_size=2)
    config.optimizer.warmup_steps = 4
    config.train.update(
      steps=12,
      log_every=4,
      evaluate_every=6,
      evaluate_rows=4,
      checkpoint_every=6,
    )
    config.tables.health.max_rows = 4
    config.tables.leak.num_examples = 100
  if size == '16m':
    config.objective.network.dtype = 'bfloat16'
    config.data.update(batch_size=1_024)
    config.data.num_workers = 8
    config.optimizer.update(learning_rate=1e-4, warmup_steps=1_000)
    config.train.update(
      steps=67_000,
      log_every=50,
      evaluate_every=2_000,
      evaluate_rows=2_048,
      checkpoint_every=1_000,
    )
    config.tables.health.max_rows = 4_096
  if 'vq' in options:
    codes = (512,)
  if 'vq' in options or 'fsq' in options:
    config.objective.network.taps = (num_blocks,)
  if 'fsq' in options:
    config.objective.quantiser = {
      'name': 'vqdna.finite_scalar:FiniteScalar',
      'levels': (8, 5, 5, 5),
    }
    config.objective.network.code_width = 4
  else:
    config.objective.quantiser = _codebooks(
      codes, level, options, config.train.get_ref('steps')
    )
  if 'stride3' in options:
    config.objective.network.token_stride = 3
    config.train.bases_per_token = 3
  if 'masked' in options:
    config.objective.masking = {
      'name': 'vqdna.masking:SpanMasking',
      'rate': 0.15,
      'span': 3,
    }
  return config


def _codebooks(
  codes: tuple[int, ...],
  level: dict[str, Any],
  options: list[str],
  steps: FieldReference,
) -> dict[str, Any]:
  """Codes settle in the last tenth of the steps, before they are frozen."""
  level = {
    'name': 'vqdna.codebook:CodebookConfig',
    'start': 'uniform' if 'uniform' in options else 'kmeans',
    **level,
  }
  if 'no_revival' in options:
    level['revive_below'] = 0.0
  return {
    'name': 'vqdna.quantizers:HierarchicalResidual',
    'levels': tuple({**level, 'size': size} for size in codes),
    'estimator': 'rotation' if 'rotation' in options else 'straight_through',
    'revive_until': steps * 9 // 10,
  }
