"""What the organism is simulated from: statistics of real genomes."""

import functools
import json
import pathlib

import numpy as np

STATISTICS_FILE = (
  pathlib.Path(__file__).resolve().parent.parent / 'organism_statistics.json'
)

# Bases of context in the Markov tables.
ORDER = 3
# Bases of a splice-site matrix in the exon and in the intron.
DONOR_EXON, DONOR_INTRON = 3, 6
ACCEPTOR_INTRON, ACCEPTOR_EXON = 20, 3
# Bases before a start codon, and of a promoter.
START_CONTEXT = 6
PROMOTER = 240


@functools.cache
def load() -> dict[str, np.ndarray]:
  """The committed statistics as arrays."""
  with STATISTICS_FILE.open() as handle:
    return {name: np.array(value) for name, value in json.load(handle).items()}
