"""One model for DNA, RNA, protein and pairs: probes of a small pretraining.

Life-Code (arXiv:2502.07299) claims one nucleotide model for three omics; its
own tables were not at hand (lifecode/README.md), so no column here is its. The
values quoted are of other models on the same data, each with its source; none
was measured by us, and most were fine-tuned on the whole training set, which
a probe on a part of it is not.
"""

import pathlib
from typing import Any

from experiments.tables.lifecode import sources
from experiments.tables.lifecode.sources import coding, entry, gue, limited

_LIMITS = {
  'smoke': {'train': 60, 'validation': 30, 'test': 40},
  'cpu': {'train': 3_000, 'validation': 800, 'test': 1_500},
}
_LONG_LIMITS = {
  'smoke': {'train': 40, 'validation': 20, 'test': 20},
  'cpu': {'train': 1_200, 'validation': 300, 'test': 600},
}
# The fields of the run that a tier changes; the file's argument does the rest.
_STEPS = {'smoke': 12, 'cpu': 900, 'gpu': 20_000, 'pod': 100_000}

# One of each kind of reader.
_SMOKE = ('prom_core_tata', 'pab1', 'secondary_structure', 'central_dogma')

_GUE = 'arXiv:2306.15006, fine-tuned on all'
_ADDITIVE = 'additive ridge on all variants, on this split; Pearson'


def get_table(
  data: pathlib.Path, out: pathlib.Path, tier: str
) -> dict[str, Any]:
  """Data sets, runs, tasks and published values."""
  is_smoke = tier == 'smoke'
  names = ('worm',) if is_smoke else tuple(sources.GENOMES)
  size = {'smoke': 'smoke', 'cpu': 'cpu'}.get(tier, '350m')
  return {
    'title': 'Life-Code: three omics, linear probes',
    'note': (
      'Columns: the same encoder with random weights; logistic or ridge '
      'regression on counts (the kind chosen on validation is named); the '
      'encoder pretrained on six genomes, their CDS, RNA and proteins. A cell '
      'is the mean over the seeds, each of which is a pretraining (or a random '
      'encoder) of its own, and from the lowest to the highest bound of their '
      '95 % bootstrap intervals over test examples. Training, validation and '
      'test sets are cut to the sizes of this tier.'
    ),
    'steps': sources.genome_steps(data, out, names),
    'seeds': (0,) if is_smoke else (0, 1, 2),
    'runs': {
      'pretrained': {
        'config': f'experiments/lifecode/pretrain.py:{size}',
        'overrides': {
          'data.path': str(out / 'data'),
          'train.steps': _STEPS[tier],
          'tables.masked_bits.max_rows': 4 if is_smoke else 64,
        },
      }
    },
    'random_weights_of': 'pretrained',
    'cells': {
      'name': 'backbone.downstream.cells:Probes',
      'encode': 'lifecode.model:encode',
      'probe': {
        'name': 'backbone.downstream.probe:ProbeConfig',
        'row_multiple': 96,
      },
    },
    'tasks': _tasks(data, tier),
    'published': {
      'prom_core_all': [_quoted('DNABERT-2', 0.694, _GUE)],
      'prom_core_tata': [_quoted('DNABERT-2', 0.742, _GUE)],
      'tf_0': [_quoted('DNABERT-2', 0.720, _GUE)],
      'tf_1': [_quoted('DNABERT-2', 0.761, _GUE)],
      'avgfp': [_quoted('ridge', 0.824, _ADDITIVE)],
      'pab1': [_quoted('ridge', 0.898, _ADDITIVE)],
    },
  }


def _quoted(model: str, value: float, source: str) -> dict[str, Any]:
  return {'model': model, 'value': value, 'source': source}


def _tasks(data: pathlib.Path, tier: str) -> dict[str, Any]:
  many, few = _LIMITS.get(tier), _LONG_LIMITS.get(tier)
  tasks = {
    'prom_core_all': entry(
      'DNA', limited(gue(data, 'prom/prom_core_all'), many)
    ),
    'prom_core_tata': entry(
      'DNA', limited(gue(data, 'prom/prom_core_tata'), many)
    ),
    'tf_0': entry('DNA', limited(gue(data, 'tf/0'), many)),
    'tf_1': entry('DNA', limited(gue(data, 'tf/1'), many)),
    'ncrna_family': entry('RNA', limited(_ncrna(data), many)),
    'ecoli_mrna': entry('RNA', limited(_expression(data, 'tpm'), few)),
    'yeast_mrna': entry('RNA', limited(_yeast_expression(data), few)),
    'ecoli_abundance': entry(
      'protein', limited(_expression(data, 'protein_abundance'), few)
    ),
    'avgfp': entry('protein', limited(_scan(data, 'avgfp'), few)),
    'pab1': entry('protein', limited(_scan(data, 'pab1'), few)),
    'gb1': entry('protein', limited(_gb1(data), few)),
    'secondary_structure': entry('protein', limited(_structure(data), few)),
    'rna_protein': entry('pair', limited(_rna_protein(data), many)),
    'central_dogma': entry(
      'pair',
      limited(_central_dogma(data), few),
      rule='data_pipelines.tasks.central_dogma_pairs:translate_and_compare',
    ),
  }
  kept = _SMOKE if tier == 'smoke' else tasks
  return {name: tasks[name] for name in kept}


def _ncrna(data: pathlib.Path) -> sources.Object:
  return {
    'name': 'data_pipelines.tasks.fasta_classes:FastaClasses',
    'path': str(data / 'ncrna_13class' / 'dataset_nRC_train.fasta.gz'),
    'task_name': 'ncrna_family',
  }


def _expression(data: pathlib.Path, what: str) -> sources.Object:
  folder = data / 'cds_calm' / 'expression'
  return {
    'name': 'data_pipelines.tasks.values:SequenceValues',
    'path': str(folder / f'ecoli_{what}.csv.gz'),
    'task_name': f'ecoli_{what}',
    'value_column': 'logtpm' if what == 'tpm' else 'abundance',
    'is_log1p': what != 'tpm',
    'genetic_code': 11,
    'max_bases': 1_500,
  }


def _yeast_expression(data: pathlib.Path) -> sources.Object:
  folder = data / 'yeast_s288c'
  return {
    'name': 'data_pipelines.tasks.values:JoinedValues',
    'path': str(folder / 'tpm.csv.gz'),
    'sequences': str(folder / 'S288C.cds.fa.gz'),
    'task_name': 'yeast_mrna',
    'gene_column': 'gene_id',
    'value_column': 'tpm',
    'is_log1p': True,
    'max_bases': 1_500,
  }


def _scan(data: pathlib.Path, dataset: str) -> sources.Object:
  folder = data / 'dms'
  return {
    'name': 'data_pipelines.tasks.fitness:DeepMutationalScan',
    'path': str(folder / f'{dataset}.tsv.gz'),
    'wild_types': str(folder / 'wild_types.tsv'),
    'dataset': dataset,
    'splits': str(folder / 'splits' / dataset),
    'coding': coding(data),
  }


def _gb1(data: pathlib.Path) -> sources.Object:
  folder = data / 'flip' / 'gb1'
  return {
    'name': 'data_pipelines.tasks.fitness:FlipVariants',
    'archive': str(folder / 'splits.zip'),
    'member': 'splits/three_vs_rest.csv',
    'wild_type': str(folder / '5LDE_1.fasta'),
    'task_name': 'gb1',
    'coding': coding(data),
  }


def _structure(data: pathlib.Path) -> sources.Object:
  return {
    'name': 'data_pipelines.tasks.secondary_structure:SecondaryStructure',
    'archive': str(data / 'flip' / 'secondary_structure' / 'splits.zip'),
    'codons': sources.codons(data),
    'max_residues': 300,
  }


def _rna_protein(data: pathlib.Path) -> sources.Object:
  folder = data / 'rna_protein'
  return {
    'name': 'data_pipelines.tasks.pairs:RnaProteinPairs',
    'path': str(folder / 'RPI2241_pairs.txt'),
    'rna': str(folder / 'RPI2241_rna_seq.fa.gz'),
    'proteins': str(folder / 'RPI2241_protein_seq.fa.gz'),
    'codons': sources.codons(data),
  }


def _central_dogma(data: pathlib.Path) -> sources.Object:
  return {
    'name': 'data_pipelines.tasks.central_dogma_pairs:CentralDogmaPairs',
    'path': str(data / 'yeast_s288c' / 'S288C.cds.fa.gz'),
    'max_bases': 900,
    'codons': sources.codons(data),
  }
