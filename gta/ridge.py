"""Ridge regression on counts: what GTA must beat with the same genes."""

import dataclasses
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from data_pipelines import central_dogma, records
from data_pipelines.errors import InputError
from data_pipelines.genes.dataset import GeneWindows
from data_pipelines.genes.gene import cut

Features = Literal[
  'codons', 'upstream', 'words', 'codons_and_words', 'sections'
]

_PENALTIES = (1e-1, 1e0, 1e1, 1e2, 1e3, 1e4, 1e5)


@dataclasses.dataclass(frozen=True)
class RidgeOnCounts:
  """Fits the genes that train, the penalty chosen on validation.

  Attributes:
    features: Frequencies of codons in the CDS, counts of k-mers upstream,
      weighed words (TF-IDF) of the text, or features that were computed before
      (`data.features`): their mean over sections, and the two in the middle.
    k: Bases of a k-mer.
    upstream: Bases before the anchor.
  """

  features: Features
  k: int = 5
  upstream: int = 500

  def __post_init__(self):
    if self.features not in get_args(Features):
      raise ValueError(
        f'features {self.features!r} is none of {get_args(Features)}'
      )

  def __call__(self, data: GeneWindows) -> Float[np.ndarray, 'e']:
    """A value for every gene, whatever its split."""
    split = data.split_of
    features = self._features(data, split == 'train')
    value = np.array([gene.value for gene in data.found.genes])
    is_train, is_validation = split == 'train', split == 'validation'
    best, chosen = np.inf, None
    for penalty in _PENALTIES:
      model = Ridge(alpha=penalty).fit(features[is_train], value[is_train])
      predicted = model.predict(features)
      error = np.square(predicted - value)[is_validation].mean()
      if error < best:
        best, chosen = error, predicted
    return chosen

  def _features(self, data: GeneWindows, is_train: np.ndarray):
    parts = []
    if self.features != 'words':
      count = {'upstream': self._upstream, 'sections': _sections}
      counts = count.get(self.features, _codons)(data)
      parts.append(StandardScaler().fit(counts[is_train]).transform(counts))
    if self.features in ('words', 'codons_and_words'):
      texts = np.array([gene.text for gene in data.found.genes])
      words = TfidfVectorizer(min_df=5).fit(texts[is_train])
      # Of about the size of the standardized counts beside them.
      weights = words.transform(texts) * np.sqrt(texts.size / 100)
      parts.append(weights)
    return sparse.hstack(parts).tocsr() if len(parts) > 1 else parts[0]

  def _upstream(self, data: GeneWindows) -> Float[np.ndarray, 'e _']:
    genes, k = data.found, self.k
    counts = np.zeros((len(genes.genes), 4**k))
    powers = 4 ** np.arange(k)
    for row, gene in enumerate(genes.genes):
      bases = cut(genes, gene, self.upstream, 0).sequence.astype(np.int64)
      words = np.lib.stride_tricks.sliding_window_view(bases, k)
      known = (words < records.BASES.index('N')).all(-1)
      np.add.at(counts[row], words[known] @ powers, 1)
    return counts


def _codons(data: GeneWindows) -> Float[np.ndarray, 'e _']:
  """Frequencies of the 64 codons."""
  genes = data.found
  rows = []
  for gene in genes.genes:
    coding = genes.coding_sequence(gene)
    counts = central_dogma.codon_counts(coding[: coding.size // 3 * 3])
    rows.append(counts / max(counts.sum(), 1))
  return np.stack(rows)


def _sections(data: GeneWindows) -> Float[np.ndarray, 'e _']:
  """The mean of all sections, and those on either side of the anchor."""
  if data.features is None:
    raise InputError('features of sections: give data.features')
  rows = []
  for gene in data.found.genes:
    window = cut(data.found, gene, data.before, data.after)
    found = data.features.of(window.sequence, gene.name).astype(np.float32)
    middle = len(found) // 2
    near = found[middle - 1 : middle + 1]
    rows.append(np.concatenate([found.mean(0), *near]))
  return np.stack(rows)
