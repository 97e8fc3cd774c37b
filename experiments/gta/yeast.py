"""GTA (arXiv:2410.01858) on yeast: mRNA of genes of held-out chromosomes.

  python -m experiments.run --config=experiments/gta/yeast.py \
      --workdir=DIR --config.data.genes.genome=GENOME ...

The table of all controls: python -m experiments.reproduce gta/yeast. Windows
of 3,264 bases around start codons are read by a trunk trained from nothing,
said in words of a language model of 264,000 parameters that was trained on
stories, and put behind what SGD says of the gene. None of this is published;
all settings are ours. About a minute a run on one core.
"""

import pathlib

from ml_collections import ConfigDict

from experiments import common
from experiments.gta import controls

_SIZES = ('cpu', 'smoke')
_BEFORE, _AFTER, _SECTION, _BIN = 384, 2_880, 192, 24


def get_config(arg: str = 'cpu') -> ConfigDict:
  name, *options = arg.split(',')
  size = common.choose(name, _SIZES, 'cpu')
  options = [common.choose(option, controls.CONTROLS) for option in options]
  config = ConfigDict()
  config.title = f'GTA, yeast, {arg}'
  config.seed = 0
  config.data = {
    'name': 'data_pipelines.genes.dataset:GeneWindows',
    'genes': {
      'name': 'data_pipelines.genes.annotated:AnnotatedGenes',
      'genome': '',
      'annotation': '',
      'measured': '',
      'gene_column': 'gene_id',
      'value_column': 'tpm',
      'texts': {'name': 'data_pipelines.genes.text:SGDFeatures', 'path': ''},
      'without_text': 'leave_out',
    },
    'split': {
      'name': 'data_pipelines.genes.folds:ChromosomeFold',
      'fold': 0,
      'num_folds': 5,
    },
    'tokenizer': {'name': 'gta.language.frozen:Llama2CTokenizer', 'path': ''},
    'before': _BEFORE,
    'after': _AFTER,
    'batch_size': 16,
    'seed': 0,
    'prompt': 'own',
    'max_prompt': 96,
  }
  language = {
    'name': 'gta.language.frozen:Frozen',
    'weights': '',
    'is_random': False,
  }
  config.data.prompt_reader = {
    'name': 'gta.language.prompts:PromptCache',
    'language': language,
    'folder': '',
  }
  config.objective = {
    'name': 'gta.objective:Expression',
    'model': {
      'name': 'gta.model:GTAConfig',
      'trunk': {
        'name': 'gta.trunk:TrunkConfig',
        'filters': 64,
        'size': 3,
        'stride': 3,
        'bin_size': _BIN,
        'width': 128,
      },
      'alignment': {
        'name': 'gta.alignment:AlignmentConfig',
        'feature_width': 128,
        'width': 128,
        'num_prototypes': 256,
        'prototypes': 'learned',
        'num_heads': 8,
        'key_width': 32,
        'aligner': 'attention',
        'distance_unit': 100,
      },
      'section_bins': _SECTION // _BIN,
      'section_bases': _SECTION,
      'before': _BEFORE,
      'between': 'language',
      'num_readouts': 1,
      'has_sections': True,
      'pooling': 'attention',
      'head_width': 0,
      'reads_prompt': True,
      'section_dropout': 0.3,
    },
    'language': language,
    'window': _BEFORE + _AFTER,
  }
  config.optimizer = {
    'name': 'backbone.train.optim:AdamW',
    'learning_rate': 1e-3,
    'warmup_steps': 50,
    'weight_decay': 0.1,
  }
  config.train = {
    'steps': 1_600,
    'log_every': 50,
    'evaluate_every': 800,
    'evaluate_rows': 1_000,
    'checkpoint_every': 1_600,
  }
  config.mesh = {'data': -1, 'seq': 1, 'model': 1}
  config.tables = {'held_out': {'name': 'gta.held_out:HeldOut'}}
  if not options:
    pictures = {'name': 'gta.gene_pictures:GenePictures', 'number': 2}
    config.tables.pictures = pictures
  for option in options:
    controls.change(config, option)
  if size == 'smoke':
    config.data.update(batch_size=4)
    config.train.update(steps=2, log_every=1, evaluate_every=2, evaluate_rows=4)
    config.optimizer.warmup_steps = 1
  return config


def point_at(folder: str, language: str) -> dict[str, str]:
  """Overrides that name the files of both folders."""
  data, words = pathlib.Path(folder), pathlib.Path(language)
  return {
    'data.genes.genome': str(data / 'S288C.genome.fa.gz'),
    'data.genes.annotation': str(data / 'S288C.all_feature.gff.gz'),
    'data.genes.measured': str(data / 'tpm.csv.gz'),
    'data.genes.texts.path': str(data / 'SGD_features.tab.gz'),
    'data.tokenizer.path': str(words / 'tok512.bin'),
    'objective.language.weights': str(words / 'stories260K.bin'),
    'data.prompt_reader.language.weights': str(words / 'stories260K.bin'),
  }
