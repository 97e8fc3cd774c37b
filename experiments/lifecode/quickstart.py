"""Life-Code in minutes: a simulated organism, masked, translated and probed.

  python -m experiments.run --config=experiments/lifecode/quickstart.py \
      --workdir=runs/quickstart

Paper: Life-Code (arXiv:2502.07299); sizes and settings are ours. The organism
is made on the fly and its grammar is known exactly. Hardware: 2 CPU cores,
11 minutes beside other work. Expected: ahead of random weights on all tasks and
of the codon-usage prior on residues, behind k-mer counts
(docs/results/quickstart.md).
With `:smoke` a dozen steps on a tiny organism: checks that all parts fit.
"""

from ml_collections import ConfigDict

from experiments import common


def get_config(arg: str = '') -> ConfigDict:
  is_smoke = bool(common.choose(arg, ('smoke',)))
  config = ConfigDict()
  config.title = 'Life-Code quickstart: a simulated organism'
  config.seed = 0

  organism = {'name': 'data_pipelines.organism:OrganismConfig', 'seed': 0}
  config.data = {
    'name': 'data_pipelines.pipeline:Shards',
    'prepare': {'name': 'data_pipelines.organism:build', 'config': organism},
    'row_length': 1_536,
    'batch_size': 8,
    'seed': 0,
  }
  config.objective = {
    'name': 'lifecode.objective:pretrain',
    'model': {
      'name': 'lifecode.model:LifeCodeConfig',
      'backbone': {'name': 'backbone.model:preset', 'size': '1m'},
      'tokenizer': {
        'name': 'lifecode.tokenizers:ConvMerge',
        'base_width': 32,
        'head': 'codons',
      },
      # Its genome has no annotation to learn labels from.
      'region_embedding': False,
    },
    'forward': {
      'name': 'lifecode.objectives.masked:MaskedForward',
      'masking': {'name': 'lifecode.masking:UnitMasking', 'rate': 0.15},
    },
    'amino_acid_marginal': 0.25,
    'translation': 0.25,
    'translation_positions': 'all',
  }
  config.optimizer = {
    'name': 'backbone.train.optim:AdamW',
    'learning_rate': 3e-3,
    'warmup_steps': 30,
  }
  config.train = {
    'steps': 300,
    'log_every': 10,
    'evaluate_every': 150,
    'evaluate_rows': 32,
    'checkpoint_every': 150,
  }
  config.tables = {
    'residue_bits': {
      'name': 'lifecode.residue_evaluation:ResidueBits',
      'split': 'test',
      'max_rows': 256,
    },
    'probes': {
      'name': 'backbone.downstream.probe_table:ProbeTable',
      'table': 'organism',
      'encode': 'lifecode.model:encode',
      'tasks': {
        'name': 'data_pipelines.tasks.organism:OrganismTasks',
        'organism': organism,
        'names': [
          'coding_vs_noncoding',
          'codon_phase',
          'coding_strand',
          'splice_donor',
          'promoter',
          'expression',
        ],
      },
    },
  }
  if is_smoke:
    organism.update(
      train_chromosomes=(60_000,),
      validation_chromosomes=(30_000,),
      test_chromosomes=(30_000,),
      num_families=20,
      num_proteins=9,
    )
    config.data.prepare.config = organism
    # Compiling takes most of its time.
    config.objective.model.backbone.pattern = ('delta', 'local')
    config.data.row_length = 192
    config.optimizer.warmup_steps = 4
    config.train.update(
      steps=12,
      log_every=4,
      evaluate_every=6,
      evaluate_rows=4,
      checkpoint_every=6,
    )
    config.tables.residue_bits.max_rows = 8
    config.tables.probes.tasks.update(
      organism=organism, train=40, validation=20, test=30
    )
  return config
