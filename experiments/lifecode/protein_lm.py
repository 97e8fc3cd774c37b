"""A stand-in protein language model: masked residues of translated CDS.

  python -m experiments.run --config=experiments/lifecode/protein_lm.py:cpu \
      --config.data.path=DIR --workdir=W
  python -m lifecode.teacher.protein_lm --workdir=W --out=FOLDER

DIR holds data sets made by `python -m data_pipelines.build omics`; FOLDER is a
teacher for distillation where ESM-2's weights are not at hand. Not of the paper
(Life-Code, arXiv:2502.07299, names no teacher): every number here is ours.

  :smoke  a dozen steps of a tiny model, seconds; checks that all parts fit
  :cpu    0.8 M parameters, 2 cores, about ten minutes: a perplexity on test of
          17.4 to 18.2, of residue frequencies 17.9 to 18.5: a weak teacher
"""

from ml_collections import ConfigDict

from experiments import common


def get_config(arg: str = 'cpu') -> ConfigDict:
  size = common.choose(arg, ('smoke', 'cpu'), 'cpu')
  config = ConfigDict()
  config.title = f'Stand-in protein language model, {size}'
  config.seed = 0
  config.data = {
    'name': 'data_pipelines.pipeline:Shards',
    'path': '',
    'row_length': 3_072,
    'batch_size': 4,
    'seed': 0,
    'num_workers': 0,
    'weights': {'genome': 0.0, 'cds': 0.8, 'rna': 0.0, 'protein': 0.2},
  }
  config.objective = {
    'name': 'lifecode.teacher.protein_lm:ProteinMasked',
    'model': {
      'name': 'lifecode.teacher.esm2:ESM2Config',
      'num_layers': 4,
      'width': 128,
      'num_heads': 4,
    },
    'max_proteins': 32,
    'rate': 0.15,
  }
  config.optimizer = {
    'name': 'backbone.train.optim:AdamW',
    'learning_rate': 2e-3,
    'warmup_steps': 50,
  }
  config.train = {
    'steps': 500,
    'log_every': 10,
    'evaluate_every': 250,
    'evaluate_rows': 16,
    'checkpoint_every': 100,
  }
  config.mesh = {'data': -1, 'seq': 1, 'model': 1}
  config.tables = {
    'perplexity': {
      'name': 'lifecode.teacher.perplexity:Perplexity',
      'split': 'test',
      'max_rows': 128,
    },
  }
  if size == 'smoke':
    config.data.update(row_length=192, batch_size=2)
    config.objective.model.update(num_layers=2, width=32)
    config.optimizer.warmup_steps = 4
    config.train.update(
      steps=12,
      log_every=4,
      evaluate_every=6,
      evaluate_rows=4,
      checkpoint_every=6,
    )
    config.tables.perplexity.max_rows = 4
  return config
