"""Splice sites against decoys that fit the splice-site matrix as well."""

import itertools

import numpy as np
from jaxtyping import Float, Int

from data_pipelines import records
from data_pipelines.organism import labels, statistics
from data_pipelines.tasks.windows import Example, examples, site_start

WINDOW = 144
# Decoys looked at for each true site.
_DECOYS_PER_SITE = 400


def _site_scores(
  chromosome: labels.Chromosome,
  matrix: Float[np.ndarray, 'n base'],
  first: int,
  position: Int[np.ndarray, 's'],
  strand: Int[np.ndarray, 's'],
) -> Float[np.ndarray, 's']:
  """Log odds of a splice-site matrix laid `first` bases before each site."""
  score = np.zeros(position.size)
  for offset, row in enumerate(matrix):
    base = chromosome.sequence[position + strand * (offset - first)]
    base = np.where(strand > 0, base, 3 - base)
    score += np.log(row)[base]
  return score


def _decoys(
  chromosome: labels.Chromosome,
  pair: tuple[int, int],
  is_end: bool,
  sites: Int[np.ndarray, 's 2'],
  rng: np.random.Generator,
) -> Int[np.ndarray, 'd 2']:
  """(position, strand) of the dinucleotide inside genes, where none splices."""
  sequence = chromosome.sequence
  known = {tuple(site) for site in sites.tolist()}
  found = []
  for strand in (1, -1):
    first, second = pair if strand > 0 else (3 - pair[1], 3 - pair[0])
    is_pair = (sequence[:-1] == first) & (sequence[1:] == second)
    # The site is the pair's first base on its own strand, or its last.
    at = np.flatnonzero(is_pair) + (is_end == (strand > 0))
    at = at[chromosome.strand[at] == strand]
    keep = [p for p in at.tolist() if (p, strand) not in known]
    found += [(p, strand) for p in keep]
  wanted = min(len(found), _DECOYS_PER_SITE * len(sites))
  return np.array(found)[rng.choice(len(found), wanted, replace=False)]


def _match_scores(
  target: Float[np.ndarray, 's'],
  scores: Float[np.ndarray, 'd'],
  rng: np.random.Generator,
) -> Int[np.ndarray, 'm']:
  """Indices of decoys with the score distribution of the target."""
  edges = np.quantile(target, np.linspace(0, 1, 11))
  edges[0], edges[-1] = -np.inf, np.inf
  # The lowest bin alone would be filled from the endless poor decoys.
  in_range = scores >= target.min()
  chosen = []
  for low, high in itertools.pairwise(edges):
    wanted = int(((target >= low) & (target < high)).sum())
    pool = np.flatnonzero((scores >= low) & (scores < high) & in_range)
    chosen.append(rng.permutation(pool)[:wanted])
  return np.concatenate(chosen)


def _splice(
  chromosome: labels.Chromosome,
  rng: np.random.Generator,
  sites: Int[np.ndarray, 's 2'],
  pair: tuple[int, int],
  is_end: bool,
  matrix: Float[np.ndarray, 'n base'],
  first: int,
) -> list[Example]:
  """True sites against decoys in genes that fit the matrix equally well."""
  margin = WINDOW
  decoys = _decoys(chromosome, pair, is_end, sites, rng)
  inside = [
    rows[
      (rows[:, 0] >= margin) & (rows[:, 0] < chromosome.sequence.size - margin)
    ]
    for rows in (sites, decoys)
  ]
  scores = [_site_scores(chromosome, matrix, first, *r.T) for r in inside]
  chosen = _match_scores(scores[0], scores[1], rng)
  made = []
  for label, rows in ((1, inside[0]), (0, inside[1][chosen])):
    starts = site_start(rows[:, 0], rows[:, 1], WINDOW)
    made += examples(chromosome, starts, rows[:, 1], WINDOW, label)
  return made


def donor(
  chromosome: labels.Chromosome, rng: np.random.Generator
) -> list[Example]:
  """Where introns begin, and other GT of genes."""
  return _splice(
    chromosome,
    rng,
    chromosome.donors,
    (records.G, records.T),
    False,
    statistics.load()['donor'],
    statistics.DONOR_EXON,
  )


def acceptor(
  chromosome: labels.Chromosome, rng: np.random.Generator
) -> list[Example]:
  """Where introns end, and other AG of genes."""
  return _splice(
    chromosome,
    rng,
    chromosome.acceptors,
    (records.A, records.G),
    True,
    statistics.load()['acceptor'],
    statistics.ACCEPTOR_INTRON - 1,
  )
