"""Sections of genes as a frozen trunk sees them, kept as shards.

  python -m gta.extract --genome=FASTA --genes=CSV --weights=DIR --out=DIR

CSV has the columns gene, contig, tss (1-based), strand and value. DIR is a
folder of Enformer's public weights. Stopped, the same command goes on; the
result is what `data.features` of an experiment reads.
"""

import argparse
import dataclasses
import functools
import hashlib
import pathlib
import sys
from collections.abc import Callable

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float32, UInt8

from backbone.train.state import parameters_sha256
from data_pipelines.errors import InputError
from data_pipelines.genes import features
from data_pipelines.genes.tabled import TabledGenes
from gta import enformer_sonnet, enformer_weights
from gta.enformer import EnformerConfig


@dataclasses.dataclass(frozen=True)
class EnformerExtractor:
  """Enformer, frozen; means over bins are sections.

  Attributes:
    weights: Folder of the public weights, or a file as `enformer_sonnet` has
      it.
    section_bins: Bins of a section: 8 of 128 bases make 112 sections.
    rows: Windows at once.
    config: Sizes of the weights.
  """

  weights: str
  section_bins: int = 8
  rows: int = 1
  config: EnformerConfig = dataclasses.field(default_factory=EnformerConfig)

  def __post_init__(self):
    if self.config.num_targets % self.section_bins:
      raise ValueError(
        f'section_bins {self.section_bins} does not divide '
        f'{self.config.num_targets} bins'
      )

  @property
  def before(self) -> int:
    """The anchor is the first base of the second half."""
    return self.config.num_bases // 2

  @property
  def after(self) -> int:
    return self.config.num_bases - self.before

  @property
  def first(self) -> int:
    """Sections are of the bins in the middle."""
    config = self.config
    return (config.num_bases - config.num_targets * config.bases_per_bin) // 2

  @property
  def section_bases(self) -> int:
    return self.section_bins * self.config.bases_per_bin

  @functools.cached_property
  def _state(self) -> tuple[nnx.GraphDef, nnx.State]:
    is_sonnet = self.weights.endswith('.npz')
    read = enformer_sonnet.load if is_sonnet else enformer_weights.load
    return nnx.split(read(self.weights, self.config))

  @functools.cached_property
  def label(self) -> str:
    """Of the weights, not of where they lie."""
    digest = parameters_sha256(nnx.to_pure_dict(self._state[1]))
    settings = hashlib.sha256(repr(self.config).encode()).hexdigest()[:8]
    return f'enformer {digest[:16]} {settings} {self.section_bins}'

  @functools.cached_property
  def _run(self) -> Callable[..., jax.Array]:
    graph, _ = self._state

    def run(state, sequences):
      bases = jax.nn.one_hot(sequences, 4)
      bins = nnx.merge(graph, state).features(bases)
      rows, number, width = bins.shape
      size = self.section_bins
      return bins.reshape(rows, number // size, size, width).mean(2)

    return jax.jit(run)

  def __call__(
    self, sequences: UInt8[np.ndarray, 'b n']
  ) -> Float32[np.ndarray, 'b S D']:
    """Sections, 5' to 3' of the gene."""
    return np.asarray(self._run(self._state[1], sequences))


def main(argv: list[str]) -> int:
  """Writes the shards; returns the exit code."""
  parser = argparse.ArgumentParser(prog='python -m gta.extract')
  for name in ('genome', 'genes', 'weights', 'out'):
    parser.add_argument(f'--{name}', required=True)
  options = parser.parse_args(argv)
  try:
    genes = TabledGenes(options.genome, options.genes)()
    extractor = EnformerExtractor(options.weights)
    features.write(pathlib.Path(options.out), genes, extractor)
  except InputError as error:
    print(f'error: {error}', file=sys.stderr)
    return 2
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
