"""VQDNA, stage 1: a vocabulary learnt by rebuilding genomes.

  python -m experiments.run --config=experiments/vqdna/tokenizer.py:cpu \
      --config.data.path=DIR --workdir=W

DIR holds data sets made by `python -m data_pipelines.build omics`.
Paper: VQDNA (arXiv:2405.10812); what is published of its settings, and what is
our choice, is in vqdna/README.md.

  :smoke  a dozen steps of a tiny model, seconds; checks that all parts fit
  :cpu    1.7 M parameters, 512 + 1,024 codes, 2 cores, about 15 minutes
          (docs/results/vocabulary.md)
  :16m    the published sizes, batch and rate, 8 GPUs or a TPU slice; not yet
          run

Arms change one thing each, by words behind the size, as in `:cpu,no_revival`:

  vq          one codebook of 512, at the last block: the plain VQ-VAE
  fsq         finite scalar quantisation instead of codebooks
  no_revival  dead codes stay dead
  uniform     codes start at random; with no_revival they are never placed on
              data, as far as is published
  rotation    the rotation trick instead of the straight-through gradient
  stride3     three bases a token
  masked      spans of tokens are hidden from the encoder, as pretrain.py will
  half        half as many codes
  narrow      codes of a quarter of the width
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
  'half',
  'narrow',
)
# Stem, width and blocks; codes of each level, and the decay of their moving
# average, which 400 steps are too few for at the usual 0.99.
_SIZES = {
  'smoke': (8, 16, 2, (16, 32), 0.95),
  'cpu': (64, 128, 6, (512, 1_024), 0.95),
  '16m': (256, 384, 6, (1_024, 2_048), 0.99),
}


def get_config(arg: str = 'cpu') -> ConfigDict:
  name, *options = arg.split(',')
  size = common.choose(name, _SIZES, 'cpu')
  options = [common.choose(option, _OPTIONS) for option in options]
  stem_width, width, num_blocks, codes, decay = _SIZES[size]
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
    # Before the others in their order, which is that of the names.
    'export': {'name': 'vqdna.vocabulary:Export'},
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
    config.optimizer.update(
      learning_rate=1e-4, warmup_steps=1_000, weight_decay=0.01
    )
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
  if 'half' in options:
    codes = tuple(number // 2 for number in codes)
  if 'narrow' in options:
    config.objective.network.code_width = width // 4
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
      codes, decay, options, config.train.get_ref('steps')
    )
  if 'stride3' in options:
    config.objective.network.token_stride = 3
    config.train.bases_per_token = 3
  if 'masked' in options:
    config.objective.masking = {
      'name': 'vqdna.masking:SpanMasking',
      'rate': 0.25,
      'span': 6,
    }
  return config


def _codebooks(
  codes: tuple[int, ...],
  decay: float,
  options: list[str],
  steps: FieldReference,
) -> dict[str, Any]:
  """Dead is a code with a quarter of an even share of the finest level.

  Of a coarser level the same number of tokens.
  Codes settle in the last tenth of the steps, before they are frozen.
  """
  is_revived = 'no_revival' not in options
  level = {
    'name': 'vqdna.codebook:CodebookConfig',
    'decay': decay,
    'start': 'uniform' if 'uniform' in options else 'kmeans',
  }
  return {
    'name': 'vqdna.quantizers:HierarchicalResidual',
    'levels': tuple(
      {
        **level,
        'size': size,
        'revive_share': size / max(codes) / 4 if is_revived else 0.0,
      }
      for size in codes
    ),
    'estimator': 'rotation' if 'rotation' in options else 'straight_through',
    'revive_until': steps * 9 // 10,
  }
