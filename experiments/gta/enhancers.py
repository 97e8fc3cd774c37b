"""GTA finds planted enhancers: simulated genes, the answer known.

  python -m experiments.run --config=experiments/gta/enhancers.py:cpu \
      --workdir=W --config.data.tokenizer.path=T \
      --config.objective.language.weights=L

T and L are tok512.bin and stories260K.bin, or other models of llama2.c. Genes
have one enhancer each, 0.5 to 7.7 kilobases away on either side; which section
of 256 bases it is in is asked of the model after training. No text says
anything of it. As Enformer has learnt tracks of chromatin, the trunk learns
where anything is bound, which three of four times is no enhancer. All settings
are ours; two cores, minutes.

The model sees 8,192 bases on either side; `:cpu,1024` (or 2048, 4096) fewer.
The table, with all of them: python -m experiments.reproduce gta/enhancers.
"""

import pathlib

from ml_collections import ConfigDict

from experiments import common

CONTEXTS = (1_024, 2_048, 4_096, 8_192)
_SIZES = ('cpu', 'smoke')
_SECTION, _BIN = 256, 32


def get_config(arg: str = 'cpu') -> ConfigDict:
  name, *options = arg.split(',')
  size = common.choose(name, _SIZES, 'cpu')
  known = tuple(str(context) for context in CONTEXTS)
  chosen = [common.choose(option, known) for option in options]
  context = int(chosen[-1]) if chosen else CONTEXTS[-1]
  config = ConfigDict()
  config.title = f'GTA, planted enhancers, {arg}'
  config.seed = 0
  config.data = {
    'name': 'data_pipelines.genes.dataset:GeneWindows',
    'genes': {
      'name': 'data_pipelines.genes.planted:PlantedEnhancers',
      'num_genes': 6_000,
      'reach': CONTEXTS[-1],
    },
    'split': {
      'name': 'data_pipelines.genes.folds:ChromosomeFold',
      'num_folds': 5,
    },
    'tokenizer': {'name': 'gta.language.frozen:Llama2CTokenizer', 'path': ''},
    'before': context,
    'after': context,
    'batch_size': 16,
    'seed': 0,
    'prompt': 'none',
  }
  config.objective = {
    'name': 'gta.objective:Expression',
    'model': {
      'name': 'gta.model:GTAConfig',
      'trunk': {
        'name': 'gta.trunk:TrunkConfig',
        'filters': 64,
        'size': 11,
        'stride': 1,
        'bin_size': _BIN,
        'pool': 'maximum',
        'width': 64,
        'reads_phase': False,
      },
      'alignment': {
        'name': 'gta.alignment:AlignmentConfig',
        'feature_width': 64,
        'width': 64,
        'num_prototypes': 128,
        'num_heads': 4,
        'key_width': 16,
        'distance_unit': 500,
      },
      'section_bins': _SECTION // _BIN,
      'section_bases': _SECTION,
      'before': context,
      'between': 'language',
      'num_readouts': 1,
      'head_width': 0,
      'predicts_bound': True,
    },
    'language': {'name': 'gta.language.frozen:Frozen', 'weights': ''},
    'window': 2 * context,
    'bound_weight': 1.0,
  }
  config.optimizer = {
    'name': 'backbone.train.optim:AdamW',
    'learning_rate': 4e-3,
    'warmup_steps': 50,
    'weight_decay': 0.01,
  }
  config.train = {
    'steps': 1_500,
    'log_every': 20,
    'evaluate_every': 200,
    'evaluate_rows': 128,
    'checkpoint_every': 1_500,
  }
  config.mesh = {'data': -1, 'seq': 1, 'model': 1}
  config.tables = {
    'held_out': {'name': 'gta.held_out:HeldOut'},
    'sections': {'name': 'gta.sections:SectionHits'},
    'pictures': {'name': 'gta.gene_pictures:GenePictures'},
  }
  if size == 'smoke':
    config.data.genes.num_genes = 40
    config.data.batch_size = 4
    config.train.update(steps=2, log_every=1, evaluate_every=2, evaluate_rows=4)
    config.optimizer.warmup_steps = 1
  return config


def point_at(language: str) -> dict[str, str]:
  """Overrides that name the files of a folder."""
  folder = pathlib.Path(language)
  return {
    'data.tokenizer.path': str(folder / 'tok512.bin'),
    'objective.language.weights': str(folder / 'stories260K.bin'),
  }
