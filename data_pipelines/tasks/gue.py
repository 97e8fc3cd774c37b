"""Reads a folder in the GUE layout: train, dev and test CSV files."""

import csv
import gzip
import pathlib
from collections.abc import Iterator
from typing import Literal

import numpy as np

from data_pipelines import central_dogma
from data_pipelines.errors import InputError
from data_pipelines.tasks.task import Task

_SPLIT_OF_FILE = {'train': 'train', 'dev': 'validation', 'test': 'test'}


def load(
  folder: pathlib.Path,
  *,
  name: str | None = None,
  metric: Literal['mcc', 'accuracy', 'pearson'] = 'mcc',
) -> Task:
  """The task of `folder`/{train,dev,test}.csv[.gz]: columns sequence, label."""
  folder = pathlib.Path(folder)
  sequences, labels, split = [], [], []
  for stem, split_name in _SPLIT_OF_FILE.items():
    before = len(sequences)
    for sequence, label in _rows(_find(folder, stem), metric):
      sequences.append(sequence)
      labels.append(label)
    split += [split_name] * (len(sequences) - before)
  return Task(
    name=name or folder.name,
    sequences=sequences,
    labels=np.array(labels),
    split=np.array(split),
    metric=metric,
  )


def _find(folder: pathlib.Path, stem: str) -> pathlib.Path:
  for path in (folder / f'{stem}.csv', folder / f'{stem}.csv.gz'):
    if path.exists():
      return path
  raise InputError(
    f'{folder}: no {stem}.csv or {stem}.csv.gz; a GUE folder has train, dev '
    'and test'
  )


def _rows(
  path: pathlib.Path, metric: str
) -> Iterator[tuple[np.ndarray, int | float]]:
  read = float if metric == 'pearson' else int
  opened = gzip.open if path.suffix == '.gz' else open
  try:
    with opened(path, 'rt', newline='') as handle:
      reader = csv.DictReader(handle)
      if not {'sequence', 'label'} <= set(reader.fieldnames or ()):
        raise InputError(f'{path}:1: needs the columns sequence and label')
      for row in reader:
        yield _parse(row, read, f'{path}:{reader.line_num}')
  except (EOFError, gzip.BadGzipFile, UnicodeDecodeError) as error:
    raise InputError(
      f'{path}: damaged or not a text file ({error}); fetch it again'
    ) from error


def _parse(
  row: dict[str, str | None], read: type[int] | type[float], where: str
) -> tuple[np.ndarray, int | float]:
  try:
    label = read(row['label'] or '')
  except ValueError:
    raise InputError(
      f'{where}: label {row["label"]!r} is not a number of type {read.__name__}'
    ) from None
  if not row['sequence']:
    raise InputError(f'{where}: empty sequence')
  try:
    return central_dogma.encode(row['sequence'].strip()), label
  except InputError as error:
    raise InputError(f'{where}: {error}') from None
