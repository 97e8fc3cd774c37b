"""Rows of CSV and TSV files; what is wrong with one names file and line."""

import contextlib
import csv
import io
import math
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np
from jaxtyping import UInt8

from data_pipelines import central_dogma
from data_pipelines.errors import InputError
from data_pipelines.readers.compressed import open_text


class Row(NamedTuple):
  """A row, and where it stands: 'file:line'."""

  where: str
  values: dict[str, str | None]

  def text(self, column: str) -> str:
    """What the column holds, without the blanks around it."""
    value = (self.values[column] or '').strip()
    if not value:
      raise InputError(f'{self.where}: empty {column}; fill it or remove it')
    return value

  def number(self, column: str) -> float:
    """A finite number."""
    try:
      value = float(self.values[column] or '')
    except ValueError:
      value = math.nan
    if not math.isfinite(value):
      raise InputError(
        f'{self.where}: {column} {self.values[column]!r} is not a finite '
        'number; mend or remove the row'
      )
    return value

  def integer(self, column: str) -> int:
    """A whole number."""
    try:
      return int(self.values[column] or '')
    except ValueError:
      raise InputError(
        f'{self.where}: {column} {self.values[column]!r} is not a whole '
        'number; mend or remove the row'
      ) from None

  def choice(self, column: str, known: Sequence[str]) -> str:
    """One of `known`, which may hold the empty text."""
    value = (self.values[column] or '').strip()
    if value not in known:
      raise InputError(
        f'{self.where}: {column} {value!r}; expected '
        f'{" or ".join(map(repr, known))}'
      )
    return value

  def bases(self, column: str) -> UInt8[np.ndarray, 'n']:
    """Bases A C G T N = 0..4 of letters."""
    return encode_bases(self.text(column), self.where)

  def codons(self, column: str) -> UInt8[np.ndarray, 'n']:
    """The same, of whole codons."""
    bases = self.bases(column)
    if bases.size % 3:
      raise InputError(
        f'{self.where}: {column} has {bases.size} bases, which are not whole '
        'codons; mend or remove the row'
      )
    return bases


def encode_bases(letters: str, where: str) -> UInt8[np.ndarray, 'n']:
  """Bases of letters; an illegal one is reported with `where` it is."""
  try:
    return central_dogma.encode(letters)
  except InputError as error:
    raise InputError(f'{where}: {error}') from None


def encode_residues(letters: str, where: str) -> UInt8[np.ndarray, 'm']:
  """Amino acids of letters; an illegal one is reported with `where` it is."""
  try:
    return central_dogma.encode_protein(letters)
  except InputError as error:
    raise InputError(f'{where}: {error}') from None


def read(
  path: str | Path,
  columns: Sequence[str],
  *,
  delimiter: str = ',',
  has_header: bool = True,
) -> Iterator[Row]:
  """Rows of a file, plain or gzip, that must have `columns`.

  Without a header the columns are the file's, in that order.
  """
  with open_text(Path(path)) as text:
    header = None if has_header else list(columns)
    yield from parse(text, str(path), columns, delimiter, header)


def parse(
  text: Iterable[str],
  name: str,
  columns: Sequence[str],
  delimiter: str = ',',
  header: list[str] | None = None,
) -> Iterator[Row]:
  """Rows of lines of text; `name` is what errors call it."""
  reader = csv.DictReader(text, header, delimiter=delimiter)
  try:
    if missing := set(columns) - set(reader.fieldnames or ()):
      raise InputError(
        f'{name}:1: needs the columns {" and ".join(columns)}; there is no '
        f'{", ".join(sorted(missing))}'
      )
    for values in reader:
      where = f'{name}:{reader.line_num}'
      if None in values:
        raise InputError(f'{where}: more fields than columns; mend the row')
      yield Row(where, values)
  except csv.Error as error:
    raise InputError(
      f'{name}:{reader.line_num}: not a row ({error}); fetch the file again'
    ) from error


@contextlib.contextmanager
def open_member(path: str | Path, member: str) -> Iterator[TextIO]:
  """Opens a text file inside a zip archive."""
  path = Path(path)
  if not path.is_file():
    raise InputError(f'{path}: no such file; check the path')
  try:
    with zipfile.ZipFile(path) as archive:
      if member not in archive.namelist():
        known = [name for name in archive.namelist() if not name.endswith('/')]
        raise InputError(
          f'{path}: no {member!r} in it; there are {", ".join(known)}'
        )
      with archive.open(member) as data:
        yield io.TextIOWrapper(data, 'latin-1', newline='')
  except zipfile.BadZipFile as error:
    raise InputError(
      f'{path}: zip is damaged ({error}); fetch the file again'
    ) from error
