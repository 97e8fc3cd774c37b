"""Sections of genes as a frozen trunk sees them, kept as shards.

  python -m gta.extract --genome=FASTA --genes=CSV --weights=DIR --out=DIR
  python -m gta.extract --genome=FASTA --genes=CSV --bins=DIR --model=NAME \
      --bin_size=32 --section_bins=32 --out=DIR

CSV has the columns gene, contig, tss (1-based), strand and value. The first
reads Enformer's public weights, the second what another model's own code has
written (`saved_bins`). Stopped, the same command goes on; the result is what
`data.features` of an experiment reads.
"""

import argparse
import dataclasses
import functools
import hashlib
import pathlib
import sys
from collections.abc import Callable, Sequence

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
from gta.saved_bins import SavedBins


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
    self, genes: Sequence[str], sequences: UInt8[np.ndarray, 'b n']
  ) -> Float32[np.ndarray, 'b S D']:
    """Sections, 5' to 3' of the gene."""
    del genes
    return np.asarray(self._run(self._state[1], sequences))


def main(argv: list[str]) -> int:
  """Writes the shards; returns the exit code."""
  parser = argparse.ArgumentParser(prog='python -m gta.extract')
  for name in ('genome', 'genes', 'out'):
    parser.add_argument(f'--{name}', required=True)
  source = parser.add_mutually_exclusive_group(required=True)
  source.add_argument('--weights', help="Enformer's")
  source.add_argument('--bins', help='folder of GENE.npy')
  parser.add_argument('--model', help='what made --bins, weights included')
  parser.add_argument('--bin_size', type=int, default=128)
  parser.add_argument('--section_bins', type=int, default=8)
  options = parser.parse_args(argv)
  if options.bins and not options.model:
    parser.error('--bins needs --model')
  try:
    genes = TabledGenes(options.genome, options.genes)()
    extractor = (
      SavedBins(
        options.bins, options.model, options.bin_size, options.section_bins
      )
      if options.bins
      else EnformerExtractor(options.weights, options.section_bins)
    )
    features.write(pathlib.Path(options.out), genes, extractor)
  except InputError as error:
    print(f'error: {error}', file=sys.stderr)
    return 2
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
