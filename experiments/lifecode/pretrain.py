"""Life-Code: codon units of genomes, CDS, RNA and proteins, masked.

  python -m experiments.run --config=experiments/lifecode/pretrain.py:cpu \
      --config.data.path=DIR --workdir=W

DIR holds data sets made by `python -m data_pipelines.build omics`.
Paper: Life-Code (arXiv:2502.07299), abstract; no setting of it is published, so
every number here is our choice (lifecode/README.md). The loss is masked
modelling, the residue where a codon was drawn, and translation; `,distil` adds
distillation from features that `python -m lifecode.teacher.cache` wrote (or,
with 350m, from ESM-2 650M, run beside the student):

  --config=experiments/lifecode/pretrain.py:cpu,distil \
      --config.data.features=CACHE --config.objective.teacher.path=CACHE

  :smoke  a dozen steps of a tiny model, seconds; checks that all parts fit
  :cpu    1 M parameters, 2 cores, minutes (docs/results/pretrain_cpu.md)
  :350m   the size of the paper as we read it; one pod slice; not yet run

Ablations change one thing, by a word behind the size, as in `:cpu,lookup`:

  lookup  a vector for each codon instead of the learned merge of three bases
  3to1    layers of the delta rule to those of softmax: 0, 1, 3, 5 or 11 to 1;
          0to1, 1to1 and 3to1 fit the small sizes, whose softmax is local
"""

from typing import Any

from ml_collections import ConfigDict

from experiments import common

_RATIOS = {f'{number}to1': number for number in (0, 1, 3, 5, 11)}
_OPTIONS = ('distil', 'lookup', *_RATIOS)


def get_config(arg: str = 'cpu') -> ConfigDict:
  name, *options = arg.split(',')
  size = common.choose(name, ('smoke', 'cpu', '350m'), 'cpu')
  options = [common.choose(option, _OPTIONS) for option in options]
  is_distilled = 'distil' in options
  config = ConfigDict()
  config.title = f'Life-Code pretraining, {arg}'
  config.seed = 0
  config.data = {
    'name': 'data_pipelines.pipeline:Shards',
    'path': '',
    'row_length': 1_536,
    'batch_size': 8,
    'seed': 0,
    'num_workers': 0,
    'weights': {'genome': 0.60, 'cds': 0.25, 'rna': 0.10, 'protein': 0.05},
    'size_exponent': 1.0,
  }
  config.objective = {
    'name': 'lifecode.objective:pretrain',
    'model': {
      'name': 'lifecode.model:LifeCodeConfig',
      'backbone': {'name': 'backbone.model:preset', 'size': '1m'},
      'tokenizer': {
        'name': 'lifecode.tokenizers:ConvMerge',
        'base_width': 32,
        'convolution_size': 5,
        'head': 'bases',
      },
      'region_embedding': True,
    },
    'forward': {
      'name': 'lifecode.objectives.masked:MaskedForward',
      'masking': {'name': 'lifecode.masking:UnitMasking', 'rate': 0.15},
      'regions': {'name': 'lifecode.regions:RegionLabels', 'dropout': 0.5},
    },
    'masked_modelling': 1.0,
    # With 1 the encoder of a short run is worse at coding and codon phase
    # (docs/results/quickstart.md).
    'amino_acid_marginal': 0.25,
    'translation': 0.25,
    'translation_positions': 'hidden',
    'distillation': 0.5 if is_distilled else 0.0,
  }
  if is_distilled and size == '350m':
    config.objective.teacher = {
      'name': 'lifecode.teacher.features:Online',
      'weights': '',
      'dtype': 'bfloat16',
    }
  elif is_distilled:
    config.data.features = ''
    config.objective.teacher = {
      'name': 'lifecode.teacher.features:Cached',
      'path': '',
    }
  config.optimizer = {
    'name': 'backbone.train.optim:AdamW',
    'learning_rate': 3e-3,
    'warmup_steps': 50,
  }
  config.train = {
    'steps': 500,
    'log_every': 10,
    'evaluate_every': 250,
    'evaluate_rows': 16,
    'checkpoint_every': 100,
    'micro_batches': 1,
  }
  config.mesh = {'data': -1, 'seq': 1, 'model': 1}
  config.sharding = {'split_parameters': False}
  config.tables = {
    'masked_bits': {
      'name': 'lifecode.evaluation:MaskedBits',
      'split': 'test',
      'max_rows': 512,
    },
    'residue_bits': {
      'name': 'lifecode.residue_evaluation:ResidueBits',
      'split': 'test',
      'max_rows': 512,
    },
  }
  if size == 'smoke':
    # Compiling takes most of its time.
    config.objective.model.backbone.pattern = ('delta', 'local')
    config.data.row_length = 192
    config.data.batch_size = 2
    config.optimizer.warmup_steps = 4
    config.train.update(
      steps=12,
      log_every=4,
      evaluate_every=6,
      evaluate_rows=4,
      checkpoint_every=6,
    )
    config.tables.masked_bits.max_rows = 4
    config.tables.residue_bits.max_rows = 4
  if size == '350m':
    config.data.row_length = 6_144
    config.data.batch_size = 256
    config.data.num_workers = 8
    config.objective.model.backbone.update(size='350m', remat='block')
    config.objective.model.tokenizer.base_width = 256
    config.objective.update(amino_acid_marginal=1.0, translation=1.0)
    config.optimizer.update(learning_rate=1e-4, warmup_steps=2_000)
    config.train.update(
      steps=100_000,
      log_every=50,
      evaluate_every=2_000,
      evaluate_rows=1_024,
      checkpoint_every=1_000,
    )
    config.tables.masked_bits.max_rows = 4_096
    config.tables.residue_bits.max_rows = 4_096
  if 'lookup' in options:
    config.objective.model.tokenizer = {
      'name': 'lifecode.tokenizers:Lookup',
      'bases': 3,
    }
  for option in options:
    if option in _RATIOS:
      config.objective.model.backbone.update(_layers(_RATIOS[option], size))
  return config


def _layers(num_delta: int, size: str) -> dict[str, Any]:
  """As many layers as the size has, `num_delta` to each one of softmax."""
  softmax, num_layers = ('attention', 24) if size == '350m' else ('local', 4)
  pattern = ('delta',) * num_delta + (softmax,)
  if num_layers % len(pattern):
    raise common.ConfigError(
      f'{num_delta}to1 does not divide the {num_layers} layers of {size}'
    )
  return {
    'pattern': pattern,
    'num_super_blocks': num_layers // len(pattern),
  }
