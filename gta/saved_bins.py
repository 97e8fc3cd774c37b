"""Bins that the code of another model has written, as sections."""

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from data_pipelines.errors import InputError


@dataclasses.dataclass(frozen=True)
class SavedBins:
  """What Borzoi, AlphaGenome or any model says of genes, read from files.

  A folder has GENE.npy for each gene, [M, D] floats: bins 5' to 3' of the gene,
  whose anchor is the first base of the second half. Borzoi
  (doi:10.1038/s41588-024-02053-6) has bins of 32 bases, AlphaGenome
  (doi:10.1038/s41586-025-10014-0) vectors of 128.

  Attributes:
    folder: Of the files.
    model: What made them, weights included; part of what they are known by.
    bin_size: Bases of a bin.
    section_bins: Bins of a section.
    rows: Genes at once.
  """

  folder: str
  model: str
  bin_size: int = 128
  section_bins: int = 8
  rows: int = 16

  def __post_init__(self):
    # A folder that has none is refused before anything is computed.
    _ = self._shape

  @property
  def label(self) -> str:
    """Of the model and of how its bins are read."""
    shape = ' '.join(map(str, self._shape))
    settings = hashlib.sha256(f'{self.model} {shape}'.encode()).hexdigest()[:8]
    return f'{self.model} {settings} {self.bin_size} {self.section_bins}'

  @property
  def before(self) -> int:
    """Half of what the bins cover."""
    return self._shape[0] * self.bin_size // 2

  @property
  def after(self) -> int:
    return self.before

  @property
  def first(self) -> int:
    """Sections cover all bins."""
    return 0

  @property
  def section_bases(self) -> int:
    return self.section_bins * self.bin_size

  @functools.cached_property
  def _shape(self) -> tuple[int, int]:
    """Of the first file; all must have it."""
    paths = sorted(Path(self.folder).glob('*.npy'))
    if not paths:
      raise InputError(f'{self.folder}: no GENE.npy in it')
    shape = _read(paths[0]).shape
    if len(shape) != 2 or shape[0] % (2 * self.section_bins):
      raise InputError(
        f'{paths[0]}: shape {shape}; give [M, D], M a multiple of '
        f'{2 * self.section_bins}'
      )
    return shape

  def __call__(
    self, genes: Sequence[str], sequences: UInt8[np.ndarray, 'b n']
  ) -> Float32[np.ndarray, 'b S D']:
    """Means over the bins of each section.

    Raises:
      InputError: A gene has no file, or one of another shape.
    """
    del sequences
    number, width = self._shape
    found = []
    for gene in genes:
      path = Path(self.folder) / f'{gene}.npy'
      bins = _read(path)
      if bins.shape != (number, width) or not np.isfinite(bins).all():
        raise InputError(
          f'{path}: shape {bins.shape}, or numbers that are not finite; others '
          f'have {(number, width)}'
        )
      found.append(bins.reshape(-1, self.section_bins, width).mean(1))
    return np.stack(found).astype(np.float32)


def _read(path: Path) -> np.ndarray:
  try:
    return np.load(path)
  except (OSError, ValueError) as error:
    raise InputError(f'{path}: cannot be read ({error})') from error
