"""Clades of a virus in the words of a vocabulary: a picture and two numbers.

  python -m vqdna.lineages --vocabulary=V --fasta=F --clades=C --metadata=M \
      --out=OUT

V is the folder `vocabulary` of a stage 1 run. Writes OUT/lineages.md,
lineages.json and lineages.png. VQDNA (arXiv:2405.10812) shows such a picture of
SARS-CoV-2, coloured by lineage; its data and pooling are not known.
"""

import datetime
import json
import os
import pathlib
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jaxtyping import Bool, Float, Shaped
from sklearn.metrics import pairwise_distances, silhouette_score
from tqdm import tqdm

from backbone.downstream import kmer, metrics
from data_pipelines import records
from data_pipelines.errors import InputError
from data_pipelines.tasks import lineages
from data_pipelines.tasks.lineages import Lineages
from vqdna import lineages_page
from vqdna.vocabulary import Frozen

NEIGHBOURS = 5
# Four, five and six bases: 4-mers are half of a coarse level of 512 codes,
# 5-mers as many as a fine one of 1,024.
KMERS = (4, 5, 6)


def embeddings(
  frozen: Frozen, genomes: Sequence[np.ndarray]
) -> dict[str, Float[np.ndarray, 'e _']]:
  """A row a genome: how often each code of a level occurs; and baselines.

  Those are counts of k-mers, and the bases one after the other, one-hot, which
  are as good as the genomes' beginnings are aligned.
  """
  found = {f'level {n}': [] for n in range(1, len(frozen.sizes) + 1)}
  state = frozen.init()
  length = -(-max(map(len, genomes)) // frozen.network.token_stride)
  length *= frozen.network.token_stride

  @jax.jit
  def tokens(state, batch):
    return frozen(state, batch)

  for genome in tqdm(genomes, desc='genomes', unit='genome'):
    batch = _row(genome, length)
    read = jax.device_get(tokens(state, batch))
    for ids, size, counts in zip(
      read.ids, frozen.sizes, found.values(), strict=True
    ):
      counted = np.bincount(ids[read.is_real], minlength=size)
      counts.append(counted / max(counted.sum(), 1))
  one_hot = np.zeros((len(genomes), length, 4), np.float32)
  for row, genome in enumerate(genomes):
    one_hot[row, : genome.size] = np.eye(5)[np.minimum(genome, 4)][:, :4]
  return {
    **{name: np.stack(counts) for name, counts in found.items()},
    **{f'{k}-mers': _kmers(genomes, k) for k in KMERS},
    'one-hot': one_hot.reshape(len(genomes), -1),
  }


def _row(genome: np.ndarray, length: int) -> dict[str, jax.Array]:
  bases = np.full((1, length), records.PAD, np.uint8)
  bases[0, : genome.size] = genome
  segment_ids = (np.arange(length) < genome.size)[None].astype(np.int32)
  batch = {'sequence': bases, 'segment_ids': segment_ids}
  return jax.tree.map(jnp.asarray, batch)


def _kmers(genomes: Sequence[np.ndarray], k: int) -> Float[np.ndarray, 'e _']:
  counts = np.stack(
    [
      np.bincount(kmer.kmer_codes(genome, k, 4)[1], minlength=4**k)
      for genome in genomes
    ]
  )
  return counts / np.maximum(counts.sum(-1, keepdims=True), 1)


def distances(
  features: Float[np.ndarray, 'e _'],
) -> Float[np.ndarray, 'e e']:
  """1 - cosine, of columns brought to mean 0 and deviation 1."""
  deviation = features.std(0)
  is_used = deviation > 0
  scaled = (features - features.mean(0))[:, is_used] / deviation[is_used]
  return np.clip(pairwise_distances(scaled, metric='cosine'), 0, None)


def neighbours_vote(
  distance: Float[np.ndarray, 'a e'],
  labels: Shaped[np.ndarray, 'e'],
  may_vote: Bool[np.ndarray, 'a e'],
) -> Shaped[np.ndarray, 'a']:
  """The commonest label of the nearest that may vote, the nearest's if tied."""
  far = np.where(may_vote, distance, np.inf)
  order = np.argsort(far, axis=-1, kind='stable')[:, :NEIGHBOURS]
  predicted = []
  for row, nearest in enumerate(order):
    votes = labels[nearest[np.isfinite(far[row, nearest])]]
    values, first, count = np.unique(
      votes, return_index=True, return_counts=True
    )
    predicted.append(values[np.lexsort((first, -count))[0]])
  return np.array(predicted)


def may_vote(found: Lineages) -> Bool[np.ndarray, 'e e']:
  """Whether a genome was collected on another day and in another country.

  Cases of one outbreak are near each other in every embedding. What is not
  known to the day, or of no known country, does not vote and is not voted on.

  Raises:
    InputError: Some genome may be voted on by no other, or none by any.
  """
  is_known = np.array([_is_day(date) for date in found.dates])
  is_known &= ~np.isin(found.countries, ('', '?'))
  is_other_day = found.dates[:, None] != found.dates
  is_elsewhere = found.countries[:, None] != found.countries
  votes = is_other_day & is_elsewhere & is_known & is_known[:, None]
  if not votes.any():
    raise InputError(
      'no two genomes are of different days and countries, as neighbours that '
      'vote must be; add genomes, or their dates and countries'
    )
  return votes


def _is_day(date: str) -> bool:
  """False of 2020-03 and 2020-03-XX."""
  try:
    datetime.date.fromisoformat(date)
  except ValueError:
    return False
  return True


def evaluate(
  found: Lineages, embedded: dict[str, Float[np.ndarray, 'e _']]
) -> list[dict[str, Any]]:
  """A row per embedding: accuracy of neighbours, and silhouette."""
  votes = may_vote(found)
  is_asked = votes.any(-1)
  asked, votes = found.clades[is_asked], votes[is_asked]
  # Of those that may vote: under that rule it is another one for each country.
  commonest = np.array([_commonest(found.clades[row]) for row in votes])
  rows = [{'embedding': 'commonest clade', **_accuracy(asked, commonest)}]
  for name, features in embedded.items():
    distance = distances(features)
    np.fill_diagonal(distance, 0)
    predicted = neighbours_vote(distance[is_asked], found.clades, votes)
    silhouette = silhouette_score(distance, found.clades, metric='precomputed')
    rows.append(
      {
        'embedding': name,
        **_accuracy(asked, predicted),
        'silhouette': float(silhouette),
      }
    )
  return rows


def _commonest(labels: Shaped[np.ndarray, '_']) -> str:
  values, counts = np.unique(labels, return_counts=True)
  return str(values[counts.argmax()])


def _accuracy(
  truth: Shaped[np.ndarray, 'e'], predicted: Shaped[np.ndarray, 'e']
) -> dict[str, float]:
  score = metrics.score('accuracy', truth, predicted, metrics.Bootstrap())
  return {'accuracy': score.value, 'low': score.low, 'high': score.high}


def _check(found: Lineages) -> None:
  num_clades, num_genomes = len(np.unique(found.clades)), len(found.genomes)
  if not 2 <= num_clades < num_genomes:
    raise InputError(
      f'{num_genomes} genomes of {num_clades} clades: give two clades or more, '
      'and more genomes than clades'
    )
  may_vote(found)


def main(arguments: list[str]) -> int:
  """Runs the command; returns 2 for what the user has to mend."""
  values = flags.FlagValues()
  names = ('vocabulary', 'fasta', 'clades', 'metadata', 'out')
  for name in names:
    flags.DEFINE_string(name, '', 'See above.', flag_values=values)
  try:
    rest = values(arguments)[1:]
    if rest or not all(values[name].value for name in names):
      raise InputError(
        'usage: python -m vqdna.lineages '
        + ' '.join(f'--{name}=…' for name in names)
      )
    frozen = Frozen(values.vocabulary)
    found = lineages.read(values.fasta, values.clades, values.metadata)
    _check(found)
    out = pathlib.Path(values.out)
    # Before the long part, so that nothing is lost to a folder that cannot be.
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as aside:
      text = _report(frozen, found, pathlib.Path(aside))
      for file in pathlib.Path(aside).iterdir():
        os.replace(file, out / file.name)
  except (InputError, flags.Error, OSError) as error:
    print(f'error: {" ".join(str(error).split())}', file=sys.stderr)
    return 2
  print(text)
  return 0


def _report(frozen: Frozen, found: Lineages, folder: pathlib.Path) -> str:
  """Numbers, picture and page, into a folder; returns the page."""
  embedded = embeddings(frozen, found.genomes)
  rows = evaluate(found, embedded)
  between = {name: distances(values) for name, values in embedded.items()}
  figure = lineages_page.picture(found.clades, between)
  figure.savefig(folder / 'lineages.png', dpi=150)
  (folder / 'lineages.json').write_text(json.dumps(rows, indent=1))
  text = lineages_page.text(found, rows, frozen.hash, NEIGHBOURS)
  (folder / 'lineages.md').write_text(text)
  return text


if __name__ == '__main__':
  sys.exit(main(sys.argv))
