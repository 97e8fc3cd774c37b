"""Genomes of a virus with the clade, the date and the country of each."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from Bio.SeqIO.FastaIO import SimpleFastaParser
from jaxtyping import Shaped

from data_pipelines.errors import InputError
from data_pipelines.readers.compressed import open_text
from data_pipelines.tasks import table

# As Nextstrain's rules leave a genome.
NO_CLADE = 'None'


@dataclasses.dataclass(frozen=True)
class Lineages:
  """Distinct genomes.

  Attributes:
    strains: Their names.
    genomes: Bases A C G T N = 0..4.
    clades: Of each.
    dates: Of collection, as YYYY-MM-DD or a part of it.
    countries: Of collection.
    notes: What of the files is not in here, counted: one line each.
  """

  strains: Sequence[str]
  genomes: Sequence[np.ndarray]
  clades: Shaped[np.ndarray, 'e']
  dates: Shaped[np.ndarray, 'e']
  countries: Shaped[np.ndarray, 'e']
  notes: tuple[str, ...] = ()


def read(
  fasta: str | Path, clades: str | Path, metadata: str | Path
) -> Lineages:
  """Reads genomes as Nextstrain keeps them; equal ones are taken once.

  Args:
    fasta: Genomes, named by strain.
    clades: Table (TSV) of strain and nextstrain_clade_by_rule.
    metadata: Table (TSV) with strain, date and country.

  Raises:
    InputError: A strain without a row in one of the tables.
  """
  clade_of = _column(clades, 'nextstrain_clade_by_rule')
  date_of = _column(metadata, 'date')
  country_of = _column(metadata, 'country')
  strains, genomes, seen = [], [], set()
  num_without, num_equal = 0, 0
  for strain, genome in _records(Path(fasta)):
    for path, known in ((clades, clade_of), (metadata, date_of)):
      if strain not in known:
        raise InputError(
          f'{fasta}: strain {strain!r} has no row in {path}; add it or remove '
          'the record'
        )
    if clade_of[strain] in ('', NO_CLADE):
      num_without += 1
    elif genome.tobytes() in seen:
      num_equal += 1
    else:
      seen.add(genome.tobytes())
      strains.append(strain)
      genomes.append(genome)
  if not genomes:
    raise InputError(f'{fasta}: no genome with a clade')
  return Lineages(
    strains,
    genomes,
    *(
      np.array([known[strain] for strain in strains])
      for known in (clade_of, date_of, country_of)
    ),
    notes=(
      f'{num_without} genomes without a clade',
      f'{num_equal} genomes equal to one before',
    ),
  )


def _column(path: str | Path, column: str) -> dict[str, str]:
  rows = table.read(path, ['strain', column], delimiter='\t')
  return {
    row.text('strain'): (row.values[column] or '').strip() for row in rows
  }


def _records(path: Path):
  with open_text(path) as text:
    for header, letters in SimpleFastaParser(text):
      strain = header.split()[0] if header.split() else ''
      yield strain, table.encode_bases(letters, f'{path}: {strain!r}')
