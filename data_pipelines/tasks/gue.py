"""Reads a folder in the GUE layout: train, dev and test CSV files."""

import pathlib

import numpy as np

from data_pipelines.errors import InputError
from data_pipelines.tasks import table
from data_pipelines.tasks.task import REGRESSION_METRICS, Metric, Pooling, Task

_SPLIT_OF_FILE = {'train': 'train', 'dev': 'validation', 'test': 'test'}


def load(
  folder: str | pathlib.Path,
  *,
  name: str | None = None,
  metric: Metric = 'mcc',
  pooling: Pooling = 'mean',
) -> Task:
  """The task of `folder`/{train,dev,test}.csv[.gz]: columns sequence, label.

  Every class must be in train.csv. The name is the folder's last two parts,
  such as tf/0, unless given.
  """
  folder = pathlib.Path(folder)
  is_number = metric in REGRESSION_METRICS
  sequences, labels, split = [], [], []
  known: set[float] = set()
  for stem, split_name in _SPLIT_OF_FILE.items():
    for row in table.read(_find(folder, stem), ('sequence', 'label')):
      label = row.number('label') if is_number else row.integer('label')
      if split_name == 'train':
        known.add(label)
      elif not is_number and label not in known:
        raise InputError(
          f'{row.where}: label {label} is not in train.csv, which has '
          f'{", ".join(map(str, sorted(known)))}; correct it, or add examples '
          'to train on'
        )
      labels.append(label)
      sequences.append(row.bases('sequence'))
      split.append(split_name)
  return Task(
    name=name or '/'.join(folder.parts[-2:]),
    sequences=sequences,
    labels=np.array(labels),
    split=np.array(split),
    metric=metric,
    pooling=pooling,
  )


def _find(folder: pathlib.Path, stem: str) -> pathlib.Path:
  for path in (folder / f'{stem}.csv', folder / f'{stem}.csv.gz'):
    if path.exists():
      return path
  raise InputError(
    f'{folder}: no {stem}.csv or {stem}.csv.gz; a GUE folder has train, dev '
    'and test'
  )
