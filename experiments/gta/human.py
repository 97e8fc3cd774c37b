"""GTA (arXiv:2410.01858) on human genes, as its abstract has it.

  python -m gta.extract --genome=FASTA --genes=CSV --weights=DIR --out=FEATURES
  python -m experiments.run --config=experiments/gta/human.py:llama3_1b \
      --workdir=W --config.data.genes.genome=FASTA ...

Sections of Enformer's features around the start of a gene, said in words of a
frozen language model, put behind a text about the gene. Known of the paper:
that the language model is frozen, features are aligned with its tokens, and
annotations may be the prompt; it reports Spearman .65 on Geuvadis (arXiv, first
version alone). Everything else here is ours. Not yet run: neither Enformer's
nor a language model's weights were at hand.

  :gpt2 :llama3_1b :llama3_8b   the language model, whose folder is
                                config.objective.language.weights
  :smoke                        two steps, any of them

Controls, one or more behind a comma: see `CONTROLS`.
"""

import pathlib

from ml_collections import ConfigDict

from experiments import common
from experiments.gta import controls

CONTROLS = (*controls.CONTROLS, 'attention_pool')
_SIZES = ('gpt2', 'llama3_1b', 'llama3_8b', 'smoke')
# Sections of 1,024 bases: all that Enformer's 896 bins cover.
_SECTIONS, _SECTION, _FEATURES = 112, 1_024, 3_072
_HALF = 98_304


def get_config(arg: str = 'llama3_1b') -> ConfigDict:
  name, *options = arg.split(',')
  size = common.choose(name, _SIZES, 'llama3_1b')
  options = [common.choose(option, CONTROLS) for option in options]
  is_smoke = size == 'smoke'
  config = ConfigDict()
  config.title = f'GTA, human, {arg}'
  config.seed = 0
  language = {
    'name': 'gta.language.frozen:Frozen',
    'weights': '',
    'is_random': False,
    'dtype': 'float32' if is_smoke else 'bfloat16',
  }
  config.data = {
    'name': 'data_pipelines.genes.dataset:GeneWindows',
    'genes': {
      'name': 'data_pipelines.genes.tabled:TabledGenes',
      'genome': '',
      'path': '',
      'texts': {
        'name': 'data_pipelines.genes.text:TextTable',
        'path': '',
        'gene_column': 'gene',
        'text_columns': ('text',),
      },
    },
    'split': {
      'name': 'data_pipelines.genes.folds:ChromosomeFold',
      'fold': 0,
      'num_folds': 5,
    },
    'tokenizer': {
      'name': 'gta.language.frozen:HuggingFaceTokenizer',
      'path': '',
    },
    'before': _HALF,
    'after': _HALF,
    'batch_size': 4 if is_smoke else 64,
    'seed': 0,
    'prompt': 'own',
    'max_prompt': 16 if is_smoke else 256,
    # Keys and values of a large model are too many to be kept for each gene.
    'prompt_reader': None,
    'features': {
      'name': 'data_pipelines.genes.features:WindowFeatures',
      'path': '',
    },
  }
  config.objective = {
    'name': 'gta.objective:Expression',
    'model': {
      'name': 'gta.model:GTAConfig',
      'trunk': {'name': 'gta.trunk:CachedConfig', 'width': _FEATURES},
      'alignment': {
        'name': 'gta.alignment:AlignmentConfig',
        'feature_width': _FEATURES,
        'width': 1_024,
        'num_prototypes': 1_000,
        'prototypes': 'learned',
        'num_heads': 8,
        'key_width': 64,
        'aligner': 'attention',
        'distance_unit': 1_000,
      },
      'section_bins': 1,
      'section_bases': _SECTION,
      'before': _SECTIONS * _SECTION // 2,
      'between': 'language',
      'num_readouts': 1,
      'has_sections': True,
      'pooling': 'attention',
      'head_width': 0,
      'reads_prompt': True,
      'section_dropout': 0.1,
    },
    'language': language,
    'window': _SECTIONS * _SECTION,
  }
  config.optimizer = {
    'name': 'backbone.train.optim:AdamW',
    'learning_rate': 1e-3,
    'warmup_steps': 300,
    'weight_decay': 1e-2,
  }
  config.train = {
    'steps': 5_000,
    'log_every': 50,
    'evaluate_every': 500,
    'evaluate_rows': 1_024,
    'checkpoint_every': 1_000,
    'micro_batches': 1,
  }
  config.mesh = {'data': -1, 'seq': 1, 'model': 1}
  config.sharding = {'split_parameters': False}
  config.tables = {'held_out': {'name': 'gta.held_out:HeldOut'}}
  _change(config, options)
  if is_smoke:
    config.objective.model.alignment.update(width=16, num_prototypes=8)
    config.train.update(steps=2, log_every=1, evaluate_every=2, evaluate_rows=4)
    config.optimizer.warmup_steps = 1
  return config


def point_at(folder: str) -> dict[str, str]:
  """Overrides that name what lies in a folder.

  genome.fa.gz, genes.csv (gene, contig, tss, strand, value), texts.tsv (gene,
  text), features/ (of `gta.extract`) and language/ (Hugging Face's layout).
  """
  data = pathlib.Path(folder)
  return {
    'data.genes.genome': str(data / 'genome.fa.gz'),
    'data.genes.path': str(data / 'genes.csv'),
    'data.genes.texts.path': str(data / 'texts.tsv'),
    'data.tokenizer.path': str(data / 'language' / 'tokenizer.json'),
    'data.features.path': str(data / 'features'),
    'objective.language.weights': str(data / 'language'),
  }


def _change(config: ConfigDict, options: list[str]) -> None:
  """`attention_pool`: sections, through a linear map, to the head alone."""
  if 'attention_pool' in options:
    controls.change(config, 'no_llm')
    controls.change(config, 'linear')
    controls.change(config, 'no_prompt')
  for option in options:
    if option != 'attention_pool':
      controls.change(config, option)
