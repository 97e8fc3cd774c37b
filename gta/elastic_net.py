"""Expression across people from their own variants: PrediXcan's elastic net.

  python -m gta.elastic_net --genome=FASTA --expression=BED --variants=VCF \
      --out=CSV [--reach=BASES]

Gamazon et al. (doi:10.1038/ng.3367). It knows one gene at a time and nothing of
sequence, and is what a sequence model must beat across people. CSV gets a row a
gene: its variants, and the correlation of what is predicted with what was
measured, over people that were not trained on.
"""

import argparse
import csv
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from sklearn.linear_model import ElasticNetCV
from sklearn.model_selection import KFold
from tqdm import tqdm

from data_pipelines.errors import InputError
from data_pipelines.genes import people
from data_pipelines.readers import fasta
from data_pipelines.readers.variants import Haplotypes, read_haplotypes

# On either side of a gene's start, as Enformer's window has (ours).
_REACH = 98_304


def dosages(
  haplotypes: Haplotypes, contig: str, start: int, end: int
) -> Float[np.ndarray, 'p v']:
  """How often each person has each allele that starts in a stretch.

  Alleles that all have alike often are left out.
  """
  place: dict[tuple[int, bytes, bytes], int] = {}
  entries = []
  for row, person in enumerate(haplotypes.people):
    for strand in (0, 1):
      for variant in haplotypes.variants.get((contig, person, strand), ()):
        if start <= variant.start < end:
          bases = variant.reference.tobytes(), variant.alternative.tobytes()
          allele = variant.start, *bases
          entries.append((row, place.setdefault(allele, len(place))))
  found = np.zeros((len(haplotypes.people), len(place)))
  for row, column in entries:
    found[row, column] += 1
  return found[:, found.std(0) > 0]


@dataclasses.dataclass(frozen=True)
class AcrossPeople:
  """Predicts each person from the others, in folds.

  Attributes:
    num_folds: Of the people.
    mixing: Share of the absolute penalty, beside the squared one.
    seed: Of the folds.
  """

  num_folds: int = 5
  mixing: float = 0.5
  seed: int = 0

  def __call__(
    self,
    given: Float[np.ndarray, 'p v'],
    values: Float[np.ndarray, 'p'],
    groups: Sequence[str] | None = None,
  ) -> Float[np.ndarray, 'p']:
    """A value for every person by a model that has not seen them.

    Args:
      given: Dosages.
      values: Expression of one gene.
      groups: Populations: each is predicted from the others, instead of folds.
    """
    predicted = np.full(values.shape, float(values.mean()))
    if not given.shape[1]:
      return predicted
    for test in self._folds(len(values), groups):
      train = np.setdiff1d(np.arange(len(values)), test)
      model = ElasticNetCV(
        l1_ratio=self.mixing, cv=5, max_iter=5_000, random_state=self.seed
      )
      mean, deviation = given[train].mean(0), given[train].std(0)
      scaled = (given - mean) / np.where(deviation > 0, deviation, 1)
      model.fit(scaled[train], values[train])
      predicted[test] = model.predict(scaled[test])
    return predicted

  def _folds(
    self, number: int, groups: Sequence[str] | None
  ) -> list[Int[np.ndarray, '_']]:
    if groups is not None:
      named = np.array(groups)
      return [np.flatnonzero(named == name) for name in np.unique(named)]
    split = KFold(self.num_folds, shuffle=True, random_state=self.seed)
    return [test for _, test in split.split(np.arange(number))]


def correlations(
  expression: people.PeopleExpression,
  haplotypes: Haplotypes,
  reach: int,
  model: AcrossPeople,
) -> list[dict[str, Any]]:
  """Of each gene, over people; 0 where all are predicted alike.

  Args:
    expression: Of the same people, in any order; others are left out.
    haplotypes: Of everyone who counts.
    reach: Bases on either side of a gene's start.
    model: What is fitted to each gene.
  """
  order = [expression.people.index(name) for name in haplotypes.people]
  rows = []
  for gene, contig, anchor, values in tqdm(
    zip(
      expression.genes,
      expression.contigs,
      expression.anchors.tolist(),
      expression.values[:, order],
      strict=True,
    ),
    total=len(expression.genes),
    desc='genes',
    disable=None,
  ):
    given = dosages(haplotypes, contig, anchor - reach, anchor + reach + 1)
    predicted = model(given, values)
    is_flat = min(predicted.std(), values.std()) == 0
    found = 0.0 if is_flat else np.corrcoef(predicted, values)[0, 1]
    rows.append(
      {
        'gene': gene,
        'variants': given.shape[1],
        'people': len(order),
        'pearson': round(float(found), 4),
      }
    )
  return rows


def main(argv: list[str]) -> int:
  """Writes the file, prints the mean; returns the exit code."""
  parser = argparse.ArgumentParser(prog='python -m gta.elastic_net')
  for name in ('genome', 'expression', 'variants', 'out'):
    parser.add_argument(f'--{name}', required=True)
  parser.add_argument('--reach', type=int, default=_REACH)
  options = parser.parse_args(argv)
  try:
    contigs = {
      name: contig.sequence
      for name, contig in fasta.read_genome(Path(options.genome)).items()
    }
    lengths = [(name, bases.size) for name, bases in contigs.items()]
    expression = people.read_bed(options.expression, lengths)
    haplotypes = read_haplotypes(options.variants, contigs)
    if missing := set(haplotypes.people) - set(expression.people):
      raise InputError(
        f'{options.expression}: no column of {min(missing)}, whom '
        f'{options.variants} has; give the table of the same people'
      )
  except InputError as error:
    print(f'error: {error}', file=sys.stderr)
    return 2
  rows = correlations(expression, haplotypes, options.reach, AcrossPeople())
  aside = Path(options.out).with_suffix('.tmp')
  with aside.open('w', newline='') as file:
    writer = csv.DictWriter(file, rows[0])
    writer.writeheader()
    writer.writerows(rows)
  os.replace(aside, options.out)
  found = np.array([row['pearson'] for row in rows])
  for note in haplotypes.notes:
    print(note)
  print(
    f'{len(rows):,} genes, {len(haplotypes.people):,} people: mean Pearson '
    f'{found.mean():.3f}, above 0 of {(found > 0).mean():.0%}'
  )
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
