"""Folders in buckets of Cloud Storage, for checkpoints.

Arrays are read and written by TensorStore, all else by gcsfs, each with
credentials of its own.
"""

import json
import os
import re

import fsspec
import jax
import tensorstore
from etils import epath

# Of what a run leaves there; else orbax, to which a folder without its mark is
# half a checkpoint, would remove it.
_OURS = re.compile(r'\d+(\..*)?|unreadable-\d+|is_writable-\d+')
_PROBE_SECONDS = 60
# What TensorStore says of bytes that are not what was written.
_DAMAGED = 'DATA_LOSS'


def is_address(directory: epath.PathLike) -> bool:
  """Whether it is in a bucket rather than on a disk."""
  return '://' in os.fspath(directory)


def absolute(directory: epath.PathLike) -> epath.Path:
  """`absolute` of an address would put the working directory before it."""
  path = epath.Path(directory)
  return path if is_address(directory) else path.absolute()


class Probe:
  """A file that is in the folder while a run starts."""

  def __init__(self, folder: epath.Path):
    """Writes it.

    Raises:
      FileExistsError: There are other things than checkpoints in the folder.
      Exception: Of either library, if the bucket cannot be read or written.
    """
    # What other processes write is to be seen.
    for name in ('gs', 'gcs'):
      fsspec.config.conf.setdefault(name, {})['use_listings_cache'] = False
    there = [path.name for path in folder.iterdir()] if folder.exists() else []
    if foreign := sorted(x for x in there if not _OURS.fullmatch(x)):
      raise FileExistsError(
        f'there are other things than checkpoints in it ({foreign[0]}); give '
        'it a folder of its own'
      )
    self._file = folder / f'is_writable-{jax.process_index()}'
    store = tensorstore.KvStore.open(f'{os.fspath(folder)}/').result()
    text = b'written while a run starts'
    # TensorStore itself would go on trying for long.
    store.write(self._file.name, text).result(timeout=_PROBE_SECONDS)

  def remove(self) -> None:
    """Leaves the folder as it was."""
    self._file.unlink()


def is_damage(error: Exception) -> bool:
  """Whether it is what was read that is wrong, not the way to it."""
  known = json.JSONDecodeError, FileNotFoundError, KeyError
  return isinstance(error, known) or str(error).startswith(_DAMAGED)
