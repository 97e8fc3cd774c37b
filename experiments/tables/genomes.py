"""Genomes that tables train on, and the commands that build them."""

import pathlib
from collections.abc import Mapping
from typing import Any

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


def files(data: pathlib.Path) -> dict[str, pathlib.Path]:
  """The sequences of each genome."""
  return {
    name: data / folder / options['fasta']
    for name, (folder, _, options) in GENOMES.items()
  }


def steps(
  data: pathlib.Path, out: pathlib.Path, names: tuple[str, ...] = ()
) -> list[dict[str, Any]]:
  """Commands that build data sets to train on, all of them if none is named."""
  found = []
  for name in names or GENOMES:
    folder, genetic_code, files = GENOMES[name]
    found.append(
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
  return found
