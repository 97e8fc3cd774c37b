"""Expression across people from their own variants: PrediXcan's elastic net.

Gamazon et al. (doi:10.1038/ng.3367). It knows one gene at a time and nothing of
sequence, and is what a sequence model must beat across people.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from sklearn.linear_model import ElasticNetCV
from sklearn.model_selection import KFold

from data_pipelines.readers.variants import Haplotypes


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
