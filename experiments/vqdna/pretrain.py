"""VQDNA, stage 2: hidden words of a frozen vocabulary.

  python -m experiments.run --config=experiments/vqdna/pretrain.py:cpu \
      --config.data.path=DIR --config.objective.tokens.path=V --workdir=W

V is the folder `vocabulary` that a run of experiments/vqdna/tokenizer.py leaves
in its workdir. Paper: VQDNA (arXiv:2405.10812); vqdna/README.md says what of
this is published.

  :smoke  a dozen steps of a tiny model, seconds; checks that all parts fit
  :cpu    0.9 M parameters: a convolution over words, the largest answers of
          three bases, two layers of softmax attention (ours); 2 cores
  :103m   the published backbone (12 layers of softmax attention, width 768),
          steps, batch and rate; not yet run

Spans of nine tokens are hidden, of which the codes of their neighbours do not
tell the middle. Arms change that, or one thing else, by words behind the size,
as in `:cpu,faithful`:

  faithful    single tokens are hidden, as published, whose neighbours' codes
              were made of them too, and codes alone are asked for
  bases       bases are hidden before they are tokenized; V must be of the arm
              `masked`
  hybrid      our hybrid backbone of that size
  characters  single bases instead of a learnt vocabulary; no V is needed
  sixmers     overlapping words of six bases, as DNABERT has them; no V either

Tokens/s are bases/s.
"""

from typing import Any

from ml_collections import ConfigDict

from experiments import common

_OPTIONS = ('faithful', 'bases', 'hybrid', 'characters', 'sixmers')
_BACKBONES = {
  'smoke': {'size': '1m', 'pattern': ('attention',)},
  'cpu': {
    'size': '1m',
    'pattern': ('attention', 'attention'),
    'width': 192,
    'hidden': 384,
    'num_heads': 6,
  },
  # BERT-Base: 12 layers, 768 wide, 12 heads; F of a gated block that has as
  # many weights as a plain one of 3,072.
  '103m': {
    'size': '100m',
    'pattern': ('attention',),
    'num_super_blocks': 12,
    'hidden': 2_048,
    'remat': 'dots',
  },
}
_HYBRIDS = {
  'smoke': {'size': '1m', 'pattern': ('delta', 'local')},
  'cpu': {**_BACKBONES['cpu'], 'pattern': ('delta', 'attention')},
  '103m': {'size': '100m', 'remat': 'dots'},
}
_READER = {
  'name': 'vqdna.code_model:ReaderConfig',
  'width': 32,
  'size': 9,
  'filters': 256,
  'pool': 3,
}


def get_config(arg: str = 'cpu') -> ConfigDict:
  name, *options = arg.split(',')
  size = common.choose(name, _BACKBONES, 'cpu')
  options = [common.choose(option, _OPTIONS) for option in options]
  backbone = (_HYBRIDS if 'hybrid' in options else _BACKBONES)[size]
  config = ConfigDict()
  config.title = f'VQDNA pretraining, {arg}'
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
    'name': 'vqdna.masked_codes:MaskedCodes',
    'tokens': _words(options),
    'backbone': {'name': 'backbone.model:preset', **backbone},
    'reader': None if size == '103m' else _READER,
    'masking': {
      'name': 'vqdna.masking:SpanMasking',
      'rate': 0.25,
      'span': 1 if 'faithful' in options else 9,
    },
    'hides': 'bases' if 'bases' in options else 'tokens',
    'base_weight': 0.0 if 'faithful' in options else 1.0,
    'shown_share': 0.0,
    'random_share': 0.0,
  }
  config.optimizer = {
    'name': 'backbone.train.optim:AdamW',
    'learning_rate': 3e-3,
    'warmup_steps': 50,
    'b2': 0.95,
    'epsilon': 1e-8,
    'weight_decay': 0.1,
  }
  config.train = {
    'steps': 600,
    'log_every': 10,
    'evaluate_every': 200,
    'evaluate_rows': 64,
    'checkpoint_every': 100,
    'micro_batches': 1,
    'bases_per_token': 1,
  }
  config.mesh = {'data': -1, 'seq': 1, 'model': 1}
  config.sharding = {'split_parameters': False}
  config.tables = {}
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
  if size == '103m':
    config.data.update(row_length=510, batch_size=2_048, num_workers=8)
    config.optimizer.update(
      learning_rate=5e-4,
      warmup_steps=30_000,
      b2=0.98,
      epsilon=1e-6,
      weight_decay=1e-5,
    )
    config.train.update(
      steps=500_000,
      log_every=50,
      evaluate_every=5_000,
      evaluate_rows=2_048,
      checkpoint_every=1_000,
    )
  return config


def _words(options: list[str]) -> dict[str, Any]:
  size = {'characters': 1, 'sixmers': 6}
  chosen = [size[option] for option in options if option in size]
  if len(chosen) > 1:
    raise common.ConfigError('choose one of characters and sixmers')
  if chosen:
    return {'name': 'vqdna.words:KMers', 'size': chosen[0]}
  return {'name': 'vqdna.vocabulary:Frozen', 'path': ''}
