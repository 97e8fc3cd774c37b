"""Text files, plain or compressed with gzip or bgzip."""

import contextlib
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from data_pipelines.errors import InputError

_GZIP_MAGIC = b'\x1f\x8b'


@contextlib.contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
  """Opens text for reading; damage met while reading is an `InputError`.

  Letters are read as latin-1, so that a position in a line is one in the file.
  """
  path = Path(path)
  if not path.is_file():
    raise InputError(f'{path}: no such file; check the path')
  with open(path, 'rb') as file:
    is_gzip = file.read(2) == _GZIP_MAGIC
  opener = gzip.open if is_gzip else open
  try:
    with opener(path, 'rt', encoding='latin-1') as text:
      yield text
  except EOFError as error:
    raise InputError(
      f'{path}: gzip ends too early (truncated); fetch the file again'
    ) from error
  except (gzip.BadGzipFile, zlib.error) as error:
    raise InputError(
      f'{path}: gzip is damaged ({error}); fetch the file again'
    ) from error
