"""A window of steps under XLA's profiler, for TensorBoard or xprof."""

import pathlib

import jax

from backbone.array_types import PyTree


class Profile:
  """Traces steps; none, if the first would be 0."""

  def __init__(self, folder: pathlib.Path, steps: range):
    self._folder = folder
    self._steps = steps if steps.start else range(0)
    self._is_on = False

  def before(self, step: int, state: PyTree) -> None:
    """To be called before each step, with what it starts from."""
    if step in self._steps[:1]:
      # What was asked for before is not of this window.
      jax.block_until_ready(state)
      jax.profiler.start_trace(str(self._folder))
      self._is_on = True

  def after(self, step: int, state: PyTree) -> None:
    """To be called after each step, with what it made."""
    if self._is_on and step in self._steps[-1:]:
      jax.block_until_ready(state)
      self.close()

  def close(self) -> None:
    """Ends a window that is open, and writes it."""
    if self._is_on:
      jax.profiler.stop_trace()
      self._is_on = False
