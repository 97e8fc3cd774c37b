"""Features of the windows of genes, computed once and kept as shards.

A folder has a manifest, and shards: `.npy` files [genes, S, D] of float16, read
through memory maps. A window is known by the hash of its bases, so that
features of another genome, orientation or width are never taken for it.
"""

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float16, UInt8
from tqdm import tqdm

from data_pipelines.builders import shards
from data_pipelines.errors import InputError
from data_pipelines.genes.gene import Gene, GeneSet, cut

MANIFEST = 'features.json'
FORMAT_VERSION = 2
_GENES_PER_SHARD = 256


@runtime_checkable
class Extractor(Protocol):
  """What turns windows into features.

  Attributes:
    label: What it is, weights included: other features have another label.
    before: Bases that it reads upstream of the anchor.
    after: Bases from the anchor on.
    first: Base of its window that the first section begins at.
    section_bases: Bases of a section.
    rows: Windows that it is given at once, at most.
  """

  label: str
  before: int
  after: int
  first: int
  section_bases: int
  rows: int

  def __call__(
    self, genes: Sequence[str], sequences: UInt8[np.ndarray, 'b n']
  ) -> Float[np.ndarray, 'b S D']:
    """Features of the windows of genes of these names, sections along each."""


def write(out: Path, genes: GeneSet, extractor: Extractor) -> None:
  """Writes the features of all genes; goes on where it was stopped.

  Raises:
    InputError: The folder has features of other genes or another extractor.
  """
  out = Path(out)

  def window(gene: Gene) -> UInt8[np.ndarray, '_']:
    return cut(genes, gene, extractor.before, extractor.after).sequence

  plan = {
    'format_version': FORMAT_VERSION,
    'extractor': extractor.label,
    'first': extractor.first,
    'section_bases': extractor.section_bases,
    'windows': [_hash(window(gene)) for gene in genes.genes],
  }
  _claim(out, plan)
  entries = []
  number = -(-len(genes.genes) // _GENES_PER_SHARD)
  for shard in tqdm(range(number), desc='features', disable=None):
    path = out / f'features-{shard:05d}.npy'
    if not path.exists():
      first = shard * _GENES_PER_SHARD
      chosen = genes.genes[first : first + _GENES_PER_SHARD]
      aside = path.with_suffix('.tmp.npy')
      np.save(aside, _extract(chosen, window, extractor))
      os.replace(aside, path)
    entries.append(
      {
        'file': path.name,
        'bytes': path.stat().st_size,
        'sha256': shards.sha256(path),
      }
    )
  _write_json(out / MANIFEST, {**plan, 'shards': entries})
  (out / 'plan.json').unlink(missing_ok=True)


def _claim(out: Path, plan: dict[str, Any]) -> None:
  """Refuses a folder that holds something else."""
  for name in ('plan.json', MANIFEST):
    if (out / name).exists():
      there = json.loads((out / name).read_text())
      if any(there.get(key) != value for key, value in plan.items()):
        raise InputError(
          f'{out}: has features of other windows, or of '
          f'{there.get("extractor")}; give another folder'
        )
      return
  out.mkdir(parents=True, exist_ok=True)
  _write_json(out / 'plan.json', plan)


def _extract(
  genes: Sequence[Gene],
  window: Callable[[Gene], UInt8[np.ndarray, '_']],
  extractor: Extractor,
) -> Float16[np.ndarray, 'b S D']:
  found = []
  for first in range(0, len(genes), extractor.rows):
    chosen = genes[first : first + extractor.rows]
    names = [gene.name for gene in chosen]
    found.append(extractor(names, np.stack([*map(window, chosen)])))
  return np.concatenate(found).astype(np.float16)


def _hash(window: UInt8[np.ndarray, '_']) -> str:
  return hashlib.sha256(window.tobytes()).hexdigest()[:32]


def _write_json(path: Path, content: dict[str, Any]) -> None:
  aside = path.with_suffix('.tmp')
  aside.write_text(json.dumps(content))
  os.replace(aside, path)


@dataclasses.dataclass(frozen=True)
class WindowFeatures:
  """Features that `write` has left.

  Attributes:
    path: Their folder.
    verify: Whether checksums are compared, beside sizes.
  """

  path: str
  verify: bool = True

  @functools.cached_property
  def manifest(self) -> dict[str, Any]:
    """What is in it; InputError if it is damaged or not finished."""
    file = Path(self.path) / MANIFEST
    try:
      manifest = json.loads(file.read_text())
    except (OSError, ValueError) as error:
      raise InputError(
        f'{file}: no finished features here ({error})'
      ) from error
    if manifest.get('format_version') != FORMAT_VERSION:
      raise InputError(
        f'{file}: format {manifest.get("format_version")}, this code reads '
        f'{FORMAT_VERSION}'
      )
    for entry in manifest['shards']:
      shard = Path(self.path) / entry['file']
      size = shard.stat().st_size if shard.exists() else None
      is_same = size == entry['bytes']
      if is_same and self.verify:
        is_same = shards.sha256(shard) == entry['sha256']
      if not is_same:
        raise InputError(
          f'{shard}: missing or corrupted ({size} bytes, {MANIFEST} says '
          f'{entry["bytes"]} and a checksum); compute the features again'
        )
    return manifest

  @functools.cached_property
  def _place(self) -> dict[str, int]:
    return {name: at for at, name in enumerate(self.manifest['windows'])}

  @functools.cached_property
  def _shards(self) -> list[np.ndarray]:
    return [
      np.load(Path(self.path) / entry['file'], mmap_mode='r')
      for entry in self.manifest['shards']
    ]

  def of(
    self, window: UInt8[np.ndarray, '_'], gene: str
  ) -> Float16[np.ndarray, 'S D']:
    """The features of a window; InputError if it has none."""
    at = self._place.get(_hash(window))
    if at is None:
      raise InputError(
        f'{self.path}: no features of the window of {gene}; they are of '
        'another genome, orientation or width'
      )
    shard, row = divmod(at, _GENES_PER_SHARD)
    return self._shards[shard][row]

  def inside(
    self, is_inside: Bool[np.ndarray, 'n'], number: int
  ) -> Bool[np.ndarray, 'S']:
    """Whether any base of each of so many sections is on the contig."""
    first, size = self.manifest['first'], self.manifest['section_bases']
    covered = is_inside[first : first + number * size]
    return covered.reshape(number, size).any(1)
