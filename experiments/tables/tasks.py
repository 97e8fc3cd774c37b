"""Labelled data of the tables, by the folder that holds them."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

Object = dict[str, Any]

LIMITS: Mapping[str, Mapping[str, int]] = {
  'smoke': {'train': 60, 'validation': 30, 'test': 40},
  'cpu': {'train': 3_000, 'validation': 800, 'test': 1_500},
}
LONG_LIMITS: Mapping[str, Mapping[str, int]] = {
  'smoke': {'train': 40, 'validation': 20, 'test': 20},
  'cpu': {'train': 1_200, 'validation': 300, 'test': 600},
}
RULE = 'data_pipelines.tasks.central_dogma_pairs:translate_and_compare'


def declare(
  data: pathlib.Path, tier: str, names: Sequence[str] = ()
) -> dict[str, Object]:
  """The tasks of those names, all if none, at the size of the tier."""
  many, few = LIMITS.get(tier), LONG_LIMITS.get(tier)
  tasks = {
    'prom_core_all': entry(
      'DNA', limited(gue(data, 'prom/prom_core_all'), many)
    ),
    'prom_core_tata': entry(
      'DNA', limited(gue(data, 'prom/prom_core_tata'), many)
    ),
    'tf_0': entry('DNA', limited(gue(data, 'tf/0'), many)),
    'tf_1': entry('DNA', limited(gue(data, 'tf/1'), many)),
    'ncrna_family': entry('RNA', limited(ncrna(data), many)),
    'ecoli_mrna': entry('RNA', limited(expression(data, 'tpm'), few)),
    'yeast_mrna': entry('RNA', limited(yeast_expression(data), few)),
    'ecoli_abundance': entry(
      'protein', limited(expression(data, 'protein_abundance'), few)
    ),
    'avgfp': entry('protein', limited(scan(data, 'avgfp'), few)),
    'pab1': entry('protein', limited(scan(data, 'pab1'), few)),
    'gb1': entry('protein', limited(gb1(data, 'three_vs_rest', 'gb1'), few)),
    'secondary_structure': entry('protein', limited(structure(data), few)),
    'rna_protein': entry('pair', limited(rna_protein(data, 'RPI2241'), many)),
    'central_dogma': entry(
      'pair', limited(central_dogma(data), few), rule=RULE
    ),
  }
  return {name: tasks[name] for name in names or tasks}


def entry(omics: str, task: Object, **more: Any) -> Object:
  """A row of a table: what it is of, and the labelled data."""
  return {'omics': omics, 'task': task, **more}


def limited(task: Object, limits: Mapping[str, int] | None) -> Object:
  """The task, or a part of it."""
  if limits is None:
    return task
  return {
    'name': 'data_pipelines.tasks.limited:Limited',
    'task': task,
    'limits': {'name': 'data_pipelines.tasks.choose:Limits', **limits},
  }


def classes(folder: pathlib.Path, **options: Any) -> Object:
  """A folder of train, dev and test.csv: columns sequence and label."""
  return {
    'name': 'data_pipelines.tasks.gue:load',
    'folder': str(folder),
    **options,
  }


def gue(data: pathlib.Path, folder: str, **options: Any) -> Object:
  """A folder of GUE, whose covid task is scored by its F1."""
  metric = {'metric': 'macro_f1'} if folder == 'virus/covid' else {}
  return classes(data / 'gue' / folder, **{**metric, **options})


def codons(data: pathlib.Path) -> Object:
  """Codons of proteins without a CDS: drawn from yeast's usage."""
  return {
    'name': 'data_pipelines.tasks.codons:ReverseTranslation',
    'usage_from': str(data / 'yeast_s288c' / 'S288C.cds.fa.gz'),
  }


def coding(data: pathlib.Path) -> Object:
  """Codons of variants: only those of mutated residues change."""
  return {
    'name': 'data_pipelines.tasks.variants:Coding',
    'codons': codons(data),
  }


def ncrna(data: pathlib.Path) -> Object:
  """Thirteen families of non-coding RNA."""
  return {
    'name': 'data_pipelines.tasks.fasta_classes:FastaClasses',
    'path': str(data / 'ncrna_13class' / 'dataset_nRC_train.fasta.gz'),
    'task_name': 'ncrna_family',
  }


def expression(data: pathlib.Path, what: str) -> Object:
  """E. coli genes: 'tpm' of their mRNA, or 'protein_abundance'."""
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


def yeast_expression(data: pathlib.Path) -> Object:
  """Yeast genes and the TPM of their mRNA."""
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


def scan(data: pathlib.Path, dataset: str) -> Object:
  """A deep mutational scan: 'avgfp' or 'pab1'."""
  folder = data / 'dms'
  return {
    'name': 'data_pipelines.tasks.fitness:DeepMutationalScan',
    'path': str(folder / f'{dataset}.tsv.gz'),
    'wild_types': str(folder / 'wild_types.tsv'),
    'dataset': dataset,
    'splits': str(folder / 'splits' / dataset),
    'coding': coding(data),
  }


def gb1(data: pathlib.Path, split: str, task_name: str) -> Object:
  """FLIP's variants of GB1, by one of its splits."""
  folder = data / 'flip' / 'gb1'
  return {
    'name': 'data_pipelines.tasks.fitness:FlipVariants',
    'archive': str(folder / 'splits.zip'),
    'member': f'splits/{split}.csv',
    'wild_type': str(folder / '5LDE_1.fasta'),
    'task_name': task_name,
    'coding': coding(data),
  }


def structure(data: pathlib.Path) -> Object:
  """Secondary structure of each residue."""
  return {
    'name': 'data_pipelines.tasks.secondary_structure:SecondaryStructure',
    'archive': str(data / 'flip' / 'secondary_structure' / 'splits.zip'),
    'codons': codons(data),
    'max_residues': 300,
  }


def rna_protein(data: pathlib.Path, dataset: str, **options: Any) -> Object:
  """Pairs of RNA and protein, in the layout of RPITER."""
  folder = data / 'rna_protein'
  return {
    'name': 'data_pipelines.tasks.pairs:RnaProteinPairs',
    'path': str(folder / f'{dataset}_pairs.txt'),
    'rna': str(folder / f'{dataset}_rna_seq.fa.gz'),
    'proteins': str(folder / f'{dataset}_protein_seq.fa.gz'),
    'codons': codons(data),
    **options,
  }


def central_dogma(data: pathlib.Path, **options: Any) -> Object:
  """Pairs of a CDS of yeast and a protein."""
  return {
    'name': 'data_pipelines.tasks.central_dogma_pairs:CentralDogmaPairs',
    'path': str(data / 'yeast_s288c' / 'S288C.cds.fa.gz'),
    'max_bases': 900,
    'codons': codons(data),
    **options,
  }
