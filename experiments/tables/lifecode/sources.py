"""Data sets and tasks that several tables of Life-Code share."""

import pathlib
from collections.abc import Mapping
from typing import Any

Object = dict[str, Any]

# Name of the data set: folder, genetic code, and its files by option.
GENOMES: Mapping[str, tuple[str, int, Mapping[str, str]]] = {
  'ecoli': (
    'ecoli_k12',
    11,
    {
      'fasta': 'GCF_000005845.2_ASM584v2_genomic.fna.gz',
      'gff': 'GCF_000005845.2_ASM584v2_genomic.gff.gz',
      'proteins': 'GCF_000005845.2_ASM584v2_protein.faa.gz',
    },
  ),
  'yeast': (
    'yeast_s288c',
    1,
    {
      'fasta': 'S288C.genome.fa.gz',
      'gff': 'S288C.all_feature.gff.gz',
      'proteins': 'S288C.pep.fa.gz',
    },
  ),
  'worm': (
    'worm_fly_cress_1pct',
    1,
    {'fasta': 'celegans.1pct.fa.gz', 'gff': 'celegans.1pct.gff3.gz'},
  ),
  'fly': (
    'worm_fly_cress_1pct',
    1,
    {'fasta': 'dmelanogaster.1pct.fa.gz', 'gff': 'dmelanogaster.1pct.gff3.gz'},
  ),
  'cress': (
    'worm_fly_cress_1pct',
    1,
    {'fasta': 'athaliana.1pct.fa.gz', 'gff': 'athaliana.1pct.gff3.gz'},
  ),
  'human': (
    'human_chr1_first_1Mb_hg38',
    1,
    {'fasta': 'hg38_1m.fa.gz'},
  ),
}


def genome_steps(
  data: pathlib.Path, out: pathlib.Path, names: tuple[str, ...]
) -> list[Object]:
  """Commands that build the data sets to train on."""
  steps = []
  for name in names:
    folder, genetic_code, files = GENOMES[name]
    steps.append(
      {
        'module': 'data_pipelines.build',
        'arguments': [
          'omics',
          f'--out={out / "data"}',
          f'--name={name}',
          f'--genetic_code={genetic_code}',
          *(f'--{key}={data / folder / file}' for key, file in files.items()),
        ],
        'creates': f'data/{name}',
      }
    )
  return steps


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


def gue(data: pathlib.Path, folder: str) -> Object:
  """A folder of GUE."""
  return {
    'name': 'data_pipelines.tasks.gue:load',
    'folder': str(data / 'gue' / folder),
  }


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
