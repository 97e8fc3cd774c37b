"""What the simulated organism is written in: chains, motifs, codons, stems."""

import dataclasses

import numpy as np
from Bio.Align import substitution_matrices
from jaxtyping import Float, Int, UInt8

from data_pipelines import central_dogma, records

_STOP = records.AMINO_ACIDS.index('*')
_COMPLEMENT = np.array([3, 2, 1, 0, 4], np.uint8)
_MAX_SYNONYMS = 6


def bases(text: str) -> UInt8[np.ndarray, 'n']:
  return np.array([records.BASES.index(letter) for letter in text], np.uint8)


@dataclasses.dataclass(frozen=True)
class Motif:
  """A binding site; `weight` is what a perfect copy adds to log expression."""

  name: str
  consensus: str
  weight: float


TATA = Motif('TATA box', 'TATAAAAG', 1.5)
INITIATOR = Motif('initiator', 'TCAGTCT', 0.5)
BRANCH_POINT = Motif('branch point', 'TACTAAC', 0.0)
POLYADENYLATION = Motif('polyadenylation signal', 'AATAAA', 0.0)
ACTIVATORS = (
  Motif('AP-1 like', 'ATGACTCAT', 0.5),
  Motif('CBF1 like', 'GTCACGTGAC', 0.4),
  Motif('REB1 like', 'CGTTACCCGG', 0.3),
  Motif('octamer like', 'ATTTGCATAA', 0.4),
)
REPRESSOR = Motif('repressor', 'CCGCGGTGGC', -0.6)
ENHANCER_MOTIFS = (
  Motif('ETS like', 'ACCGGAAGTG', 0.3),
  Motif('GATA like', 'AGATAAGGCA', 0.3),
)


def copy_motif(
  motif: Motif, conservation: float, rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, 'n'], float]:
  """A site with each base kept with probability `conservation`, and its weight.

  The weight falls linearly with the share of bases that differ.
  """
  site = bases(motif.consensus)
  is_mutated = rng.random(site.size) >= conservation
  site = (site + is_mutated * rng.integers(1, 4, site.size)) % 4
  return site.astype(np.uint8), motif.weight * float(1 - is_mutated.mean())


def sample_matrix(
  matrix: Float[np.ndarray, 'n base'], rng: np.random.Generator
) -> UInt8[np.ndarray, 'n']:
  """One sequence from a position weight matrix."""
  bounds = matrix.cumsum(-1)[:, :-1]
  drawn = rng.random(len(matrix))[:, None] > bounds
  return drawn.sum(-1).astype(np.uint8)


def sample_length(
  quantiles: Float[np.ndarray, 'q'] | Int[np.ndarray, 'q'],
  low: int,
  high: int,
  rng: np.random.Generator,
) -> int:
  """A length by inverting an empirical distribution, clipped."""
  at = rng.random() * (len(quantiles) - 1)
  length = np.interp(at, np.arange(len(quantiles)), quantiles)
  return int(np.clip(length, low, high))


class Background:
  """An endless sequence of a Markov chain given as a table of contexts."""

  _CHAINS = 2048
  _STEPS = 256

  def __init__(
    self, table: Float[np.ndarray, 'context base'], rng: np.random.Generator
  ):
    self._bounds = table.cumsum(-1)[:, :-1]
    self._rng = rng
    self._state = rng.integers(0, len(table), self._CHAINS)
    self._ready = np.zeros(0, np.uint8)

  def take(self, length: int) -> UInt8[np.ndarray, 'n']:
    while self._ready.size < length:
      self._ready = np.concatenate([self._ready, self._more()])
    taken, self._ready = self._ready[:length], self._ready[length:]
    return taken.copy()

  def _more(self) -> UInt8[np.ndarray, 'n']:
    # Many chains side by side, each a row of the result: a step is one gather.
    rows = np.empty((self._STEPS, self._CHAINS), np.uint8)
    uniform = self._rng.random((self._STEPS, self._CHAINS, 1))
    for step in range(self._STEPS):
      drawn = (uniform[step] > self._bounds[self._state]).sum(-1)
      self._state = (self._state * 4 + drawn) % len(self._bounds)
      rows[step] = drawn
    return rows.T.ravel()


class Codons:
  """Draws synonymous codons; `adaptation` in [0, 1] sharpens the usage."""

  _LEVELS = 11

  def __init__(self, usage: Float[np.ndarray, '64'], sharpness: float):
    table = central_dogma.genetic_code(1).amino_acid_of_codon
    self.usage = usage
    self._amino_acid_of_codon = table
    self._choices = np.zeros((_STOP + 1, _MAX_SYNONYMS), np.int64)
    self._bounds = np.ones((self._LEVELS, _STOP + 1, _MAX_SYNONYMS))
    for amino_acid in range(_STOP + 1):
      codons = np.flatnonzero(table == amino_acid)
      self._choices[amino_acid, : codons.size] = codons
      for level in range(self._LEVELS):
        power = 1 + sharpness * level / (self._LEVELS - 1)
        weight = (usage[codons] + 1e-6) ** power
        bounds = (weight / weight.sum()).cumsum()
        self._bounds[level, amino_acid, : codons.size - 1] = bounds[:-1]

  def composition(self) -> Float[np.ndarray, '20']:
    """How often each of the 20 residues is used."""
    share = np.bincount(
      self._amino_acid_of_codon, self.usage, len(records.AMINO_ACIDS)
    )
    return share[:_STOP] / share[:_STOP].sum()

  def draw(
    self,
    amino_acids: UInt8[np.ndarray, 'm'],
    adaptation: float,
    rng: np.random.Generator,
  ) -> UInt8[np.ndarray, 'n']:
    """The coding sequence of `amino_acids`."""
    level = round(adaptation * (self._LEVELS - 1))
    bounds = self._bounds[level, amino_acids]
    choice = (rng.random((amino_acids.size, 1)) > bounds).sum(-1)
    codons = self._choices[amino_acids, choice]
    split = np.stack([codons // 16, codons // 4 % 4, codons % 4], -1)
    return split.astype(np.uint8).ravel()


def substitutions(
  composition: Float[np.ndarray, '20'],
) -> Float[np.ndarray, 'residue residue']:
  """Cumulative odds of each replacement of a residue, from BLOSUM62."""
  letters = records.AMINO_ACIDS[:_STOP]
  blosum = substitution_matrices.load('BLOSUM62')
  scores = np.array([[blosum[a][b] for b in letters] for a in letters])
  weight = composition * 2.0 ** (scores / 2)
  np.fill_diagonal(weight, 0)
  return (weight / weight.sum(-1, keepdims=True)).cumsum(-1)


def mutate(
  residues: UInt8[np.ndarray, 'm'],
  share: float,
  bounds: Float[np.ndarray, 'residue residue'],
  rng: np.random.Generator,
) -> UInt8[np.ndarray, 'm']:
  """Replaces a `share` of the residues, all but the first."""
  mutated = residues.copy()
  at = 1 + np.flatnonzero(rng.random(residues.size - 1) < share)
  drawn = rng.random((at.size, 1)) > bounds[residues[at], :-1]
  mutated[at] = drawn.sum(-1)
  return mutated


def stem_loops(num: int, rng: np.random.Generator) -> UInt8[np.ndarray, 'n']:
  """A non-coding RNA: hairpins whose two arms pair, joined by short linkers."""
  # Stems are rich in G and C, as those of transfer RNA are.
  parts = []
  for _ in range(num):
    stem = rng.choice(4, rng.integers(6, 13), p=(0.18, 0.32, 0.32, 0.18))
    loop = rng.integers(0, 4, rng.integers(4, 9))
    linker = rng.integers(0, 4, rng.integers(2, 9))
    parts += [stem, loop, _COMPLEMENT[stem[::-1]], linker]
  return np.concatenate(parts).astype(np.uint8)
