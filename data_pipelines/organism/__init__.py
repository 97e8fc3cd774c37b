"""A simulated organism with a known grammar: the embedded default data set."""

from data_pipelines.organism.dataset import build
from data_pipelines.organism.genome import OrganismConfig, simulate
from data_pipelines.organism.labels import REGIONS, Chromosome, Gene, Organism
from data_pipelines.organism.locus import LocusConfig

__all__ = [
  'REGIONS',
  'Chromosome',
  'Gene',
  'LocusConfig',
  'Organism',
  'OrganismConfig',
  'build',
  'simulate',
]
