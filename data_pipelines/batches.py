"""Random access to the batches of a mixture, and to those of one source."""

import bisect
import functools
import sys
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from data_pipelines.central_dogma import CodonPolicy
from data_pipelines.mixture import Mixture, Source
from data_pipelines.pack import Plan, plan_block, plan_in_order
from data_pipelines.rows import PackedBatch, RowReader


class TrainingBatches:
  """Random access to the batches of a mixture; pickles without open files."""

  def __init__(
    self,
    mixture: Mixture,
    *,
    row_length: int,
    reverse_complement: float | int,
    batch_size: int,
    rows: range,
    codon_policy: CodonPolicy = 'usage',
    cache_bases: int = 0,
  ):
    """`rows`: which rows of a batch to make, of the `batch_size` it has."""
    self._reader = RowReader(
      mixture.sources,
      row_length,
      codon_policy=codon_policy,
      cache_bases=cache_bases,
    )
    self._plan_block = functools.partial(
      plan_block,
      mixture,
      row_length=row_length,
      reverse_complement=reverse_complement,
    )
    self._batch_size = batch_size
    self._rows = rows
    self._reset()

  def _reset(self) -> None:
    # First row of block 0, 1, ... as far as known, and the latest two plans.
    self._first_row = [0]
    self._plans: dict[int, Plan] = {}
    self._lock = threading.Lock()

  def __getstate__(self) -> dict[str, Any]:
    hidden = ('_first_row', '_plans', '_lock')
    return {k: v for k, v in self.__dict__.items() if k not in hidden}

  def __setstate__(self, state: dict[str, Any]) -> None:
    self.__dict__.update(state)
    self._reset()

  def __repr__(self) -> str:
    return f'TrainingBatches(batch_size={self._batch_size}, rows={self._rows})'

  def __len__(self) -> int:
    return sys.maxsize

  def __getitem__(self, index: int) -> PackedBatch:
    first = int(index) * self._batch_size
    rows = [self._locate(first + row) for row in self._rows]
    return self._reader.batch(rows, len(rows))

  def _locate(self, row: int) -> tuple[Plan, int]:
    """The plan that row `row` of the stream is in, and where in there."""
    with self._lock:
      while row >= self._first_row[-1]:
        self._plan(len(self._first_row) - 1)
      block = bisect.bisect_right(self._first_row, row) - 1
      return self._plan(block), row - self._first_row[block]

  def _plan(self, block: int) -> Plan:
    if block not in self._plans:
      plan = self._plan_block(block)
      if block == len(self._first_row) - 1:
        self._first_row.append(self._first_row[-1] + plan.num_rows)
      while len(self._plans) > 1:
        del self._plans[min(self._plans)]
      self._plans[block] = plan
    return self._plans[block]


class EvaluationBatches(Sequence):
  """The batches of one source, every record once and in order."""

  def __init__(
    self,
    source: Source,
    *,
    row_length: int,
    batch_size: int,
    rows: range,
    max_rows: int | None,
  ):
    """`rows`: which rows of a batch to make, of the `batch_size` it has."""
    self._reader = RowReader([source], row_length)
    self._plan = plan_in_order(source.lengths, row_length)
    num_rows = self._plan.num_rows
    chosen = num_rows if max_rows is None else min(max_rows, num_rows)
    self._chosen = np.arange(chosen) * num_rows // max(chosen, 1)
    self._batch_size = batch_size
    self._rows = rows

  def __len__(self) -> int:
    return -(-len(self._chosen) // self._batch_size)

  def __getitem__(self, index: int) -> PackedBatch:
    if not 0 <= index < len(self):
      raise IndexError(f'batch {index} of {len(self)}')
    whole = self._chosen[index * self._batch_size :]
    local = whole[self._rows.start : self._rows.stop].tolist()
    return self._reader.batch(
      [(self._plan, row) for row in local], len(self._rows)
    )
