"""What a state, and what made it, are known by."""

import dataclasses
import hashlib
import importlib.metadata
import pathlib
import subprocess
from typing import Any

import jax
import jax.numpy as jnp

from backbone.array_types import PyTree


@dataclasses.dataclass(frozen=True)
class Identity:
  """What a checkpoint must agree with to be continued.

  Attributes:
    vocabulary: Hash of what the model's input ids mean.
    data_manifest: Hash of the data set's manifest.
    seed: Of the run; it draws the noise of every step still to come.
  """

  vocabulary: str
  data_manifest: str
  seed: int


def checksum(state: PyTree) -> list[jax.Array]:
  """Sum of the bits of each array, modulo 2^32: the same on every mesh."""

  def bits(x: jax.Array) -> jax.Array:
    if jnp.issubdtype(x.dtype, jnp.bool_):
      x = x.astype(jnp.uint8)
    unsigned = jnp.dtype(f'uint{8 * x.dtype.itemsize}')
    words = jax.lax.bitcast_convert_type(x, unsigned)
    return jnp.sum(words.astype(jnp.uint32), dtype=jnp.uint32)

  return [bits(x) for x in jax.tree.leaves(state)]


def hash_text(text: Any) -> str:
  """Short hash of a vocabulary or of anything with a stable `repr`."""
  return hashlib.sha256(repr(text).encode()).hexdigest()[:16]


def code_version() -> str:
  """The git revision of the code, else the version of the package."""
  root = pathlib.Path(__file__).resolve().parents[2]
  try:
    command = ('git', '-C', str(root), 'rev-parse', 'HEAD')
    found = subprocess.run(command, capture_output=True, text=True, timeout=5)
    if found.returncode == 0 and (root / '.git').exists():
      return found.stdout.strip()
    return importlib.metadata.version('multiomics-jax')
  except (OSError, subprocess.SubprocessError):
    return 'unknown'
  except importlib.metadata.PackageNotFoundError:
    return 'unknown'


def describe(state: PyTree) -> dict[str, str]:
  """Type and shape of each array, by its path."""
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): (
      f'{leaf.dtype}{list(leaf.shape)}'
    )
    for path, leaf in jax.tree.leaves_with_path(state)
  }
