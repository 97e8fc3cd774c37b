"""From the batches of each process to global arrays over all devices."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from data_pipelines.rows import PackedBatch


@runtime_checkable
class Batches(Protocol):
  """An iterator whose position can be saved, such as `BatchIterator`."""

  def __next__(self) -> PackedBatch: ...

  def get_state(self) -> dict[str, Any]: ...

  def set_state(self, state: Mapping[str, Any]) -> None: ...


def to_device(
  batch: Mapping[str, np.ndarray], sharding: jax.sharding.Sharding
) -> dict[str, jax.Array]:
  """Global arrays of which `batch` holds the rows of this process."""
  return {
    name: jax.make_array_from_process_local_data(sharding, array)
    for name, array in batch.items()
  }


class DeviceBatches:
  """Batches on the devices; the next one is copied while this one is used.

  The state is that of the batch handed out last, not of the one read ahead.
  """

  def __init__(self, batches: Batches, sharding: jax.sharding.Sharding):
    self._batches = batches
    self._sharding = sharding
    self._ahead: dict[str, jax.Array] | None = None
    self._state = batches.get_state()

  def __iter__(self) -> 'DeviceBatches':
    return self

  def __next__(self) -> dict[str, jax.Array]:
    batch = self._read() if self._ahead is None else self._ahead
    self._state = self._batches.get_state()
    self._ahead = self._read()
    return batch

  def _read(self) -> dict[str, jax.Array]:
    return to_device(next(self._batches), self._sharding)

  def get_state(self) -> dict[str, Any]:
    """The state of the host iterator after the batch handed out last."""
    return self._state

  def set_state(self, state: Mapping[str, Any]) -> None:
    """Goes on after the batch that the state was taken at."""
    self._ahead = None
    self._batches.set_state(state)
    self._state = self._batches.get_state()
