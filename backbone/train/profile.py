"""A window of steps under XLA's profiler, for TensorBoard or xprof."""

import pathlib

import jax

from backbone.array_types import PyTree


class Profile:
  """Traces `number` steps from `first` on; no step, if that is 0."""

  def __init__(self, folder: pathlib.Path, first: int, number: int):
    self._folder = folder
    self._steps = range(first, first + number) if first else range(0)
    self._is_on = False

  def before(self, step: int, state: PyTree) -> None:
    """To be called before each step, with what it starts from."""
    if self._is_on and step not in self._steps:
      jax.block_until_ready(state)
      self.close()
    elif not self._is_on and step in self._steps[:1]:
      # What was asked for before is not of this window.
      jax.block_until_ready(state)
      jax.profiler.start_trace(str(self._folder))
      self._is_on = True

  def close(self) -> None:
    """Ends a window that is open, and writes it."""
    if self._is_on:
      jax.profiler.stop_trace()
      self._is_on = False
