"""Batches without end, of examples that are all at hand."""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Int

from data_pipelines.errors import InputError

Batch = dict[str, np.ndarray]


def local_rows(batch_size: int, process_id: int, num_processes: int) -> range:
  """The rows of each batch that a process reads.

  Raises:
    InputError: Processes do not divide a batch.
  """
  if batch_size % num_processes:
    raise InputError(
      f'batch_size={batch_size} cannot be divided among {num_processes} '
      'processes; give a multiple'
    )
  size = batch_size // num_processes
  return range(process_id * size, (process_id + 1) * size)


class EndlessBatches:
  """Examples anew shuffled in each epoch; its state is a number."""

  def __init__(
    self,
    read: Callable[[Int[np.ndarray, 'b'], Int[np.ndarray, 'b']], Batch],
    number: int,
    batch_size: int,
    rows: range,
    seed: int,
  ):
    """Nothing is read yet.

    Args:
      read: Makes a batch of epochs and numbers of examples.
      number: Of examples.
      batch_size: Over all processes.
      rows: Those of each batch that are read here.
      seed: Of the order.
    """
    self._read = read
    self._number = number
    self._batch_size = batch_size
    self._rows = np.arange(rows.start, rows.stop)
    self._seed = seed
    self._order = functools.lru_cache(maxsize=2)(self._shuffle)
    self._next_batch = 0

  def __iter__(self) -> Iterator[Batch]:
    return self

  def __next__(self) -> Batch:
    places = self._next_batch * self._batch_size + self._rows
    self._next_batch += 1
    epoch, at = np.divmod(places, self._number)
    pairs = zip(epoch.tolist(), at.tolist(), strict=True)
    return self._read(epoch, np.array([self._order(e)[a] for e, a in pairs]))

  def _shuffle(self, epoch: int) -> Int[np.ndarray, 'e']:
    rng = np.random.default_rng([self._seed, epoch])
    return rng.permutation(self._number)

  def get_state(self) -> dict[str, int]:
    """What `set_state` of any iterator over the same data needs."""
    return {'next_batch': self._next_batch}

  def set_state(self, state: Mapping[str, Any]) -> None:
    """Goes on at the batch that the state names."""
    self._next_batch = int(state['next_batch'])
