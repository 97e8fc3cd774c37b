"""Metrics of a run: a JSONL file, TensorBoard, a progress bar."""

import contextlib
import dataclasses
import json
import os
import pathlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tqdm
from tensorboardX import summary as tensorboard_summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2

from backbone.array_types import Mean

# Of a line of training: the rest is the same whenever a run is repeated.
TIMINGS = (
  'step_seconds',
  'tokens_per_second',
  'tokens_per_second_per_chip',
  'bases_per_second',
  'utilisation',
  'loader_stall',
  'goodput',
)


def read_metrics(path: pathlib.Path) -> list[dict[str, Any]]:
  """The lines of a metrics file; a half-written last line is left out."""
  if not path.exists():
    return []
  lines = []
  for text in path.read_text().splitlines():
    try:
      lines.append(json.loads(text))
    except json.JSONDecodeError:
      break
  return lines


class MetricsWriter:
  """Appends to `metrics.jsonl` and to TensorBoard."""

  def __init__(
    self,
    workdir: pathlib.Path,
    *,
    start: int,
    is_resumed: bool,
    is_active: bool = True,
  ):
    """Drops what an interrupted run wrote after the restored step.

    Args:
      workdir: Of the run.
      start: Step the run goes on from.
      is_resumed: A checkpoint of that step was restored.
      is_active: False in all processes but one, which then write nothing.
    """
    self._is_active = is_active
    if not is_active:
      return
    path = workdir / 'metrics.jsonl'
    kept = [
      line
      for line in read_metrics(path)
      if is_resumed and line['step'] <= start
    ]
    aside = path.with_suffix('.jsonl.tmp')
    aside.write_text(''.join(json.dumps(line) + '\n' for line in kept))
    os.replace(aside, path)
    self._file = path.open('a')
    self._board = _Board(
      workdir / 'tensorboard', start + 1 if is_resumed else 0
    )

  def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
    """One line; flushed, so that a kill loses nothing written."""
    if not self._is_active:
      return
    line = {'step': step, 'split': split, **values}
    self._file.write(json.dumps(line) + '\n')
    self._file.flush()
    self._board.write(step, {f'{split}/{k}': v for k, v in values.items()})

  def close(self) -> None:
    """Closes both."""
    if not self._is_active:
      return
    with contextlib.closing(self._board), contextlib.closing(self._file):
      pass


class _Board:
  """Scalars for TensorBoard, written at once.

  tensorboardX's own writer has a thread, which meets a full disk after us, and
  in as many lines as its stack is deep.
  """

  def __init__(self, folder: pathlib.Path, first_step: int):
    folder.mkdir(parents=True, exist_ok=True)
    self._file = EventsWriter(str(folder / 'events'))
    # What an interrupted run wrote from this step on does not count.
    begin = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    self._file.write_event(
      event_pb2.Event(wall_time=time.time(), step=first_step, session_log=begin)
    )

  def write(self, step: int, values: Mapping[str, float]) -> None:
    for name, value in values.items():
      summary = tensorboard_summary.scalar(name, value)
      event = event_pb2.Event(wall_time=time.time(), step=step, summary=summary)
      self._file.write_event(event)
    self._file.flush()

  def close(self) -> None:
    self._file.close()


@dataclasses.dataclass
class Spent:
  """Time in a block, once it is left."""

  seconds: float = 0.0


class Throughput:
  """Rates since the last reading, and where the time went; no padding."""

  def __init__(self, bases_per_token: int, readers: int, chips: int):
    """Starts the clock.

    Args:
      bases_per_token: That the model reads as one unit.
      readers: Processes that read different rows, this one among them.
      chips: Of all processes.
    """
    self._bases_per_token = bases_per_token
    self._readers = readers
    self._chips = chips
    self._start()

  def _start(self) -> None:
    self._bases, self._steps, self._since = 0, 0, time.monotonic()
    self._spent = {'loader': 0.0, 'pause': 0.0}

  def count(self, batch: Mapping[str, np.ndarray]) -> None:
    """Adds this process's rows; the other readers have as many."""
    self._bases += int(np.count_nonzero(batch['segment_ids']))
    self._steps += 1

  def paused(self) -> contextlib.AbstractContextManager['Spent']:
    """Leaves out the time spent inside: an evaluation, a checkpoint."""
    return self._timed('pause')

  def loading(self) -> contextlib.AbstractContextManager['Spent']:
    """Around what waits for a batch."""
    return self._timed('loader')

  @contextlib.contextmanager
  def _timed(self, name: str) -> Iterator['Spent']:
    begin, spent = time.monotonic(), Spent()
    yield spent
    spent.seconds = time.monotonic() - begin
    self._spent[name] += spent.seconds

  def read(self) -> dict[str, float]:
    """Rates since the last call; the first has compiling in it."""
    total = max(time.monotonic() - self._since, 1e-9)
    training = max(total - self._spent['pause'], 1e-9)
    tokens = self._bases * self._readers / self._bases_per_token
    found = {
      'step_seconds': training / max(self._steps, 1),
      'tokens_per_second': tokens / training,
      'tokens_per_second_per_chip': tokens / training / self._chips,
      'bases_per_second': tokens * self._bases_per_token / training,
      'loader_stall': self._spent['loader'] / training,
      'goodput': (training - self._spent['loader']) / total,
    }
    self._start()
    return found


def progress_bar(*, start: int, steps: int, is_shown: bool) -> tqdm.tqdm:
  """Steps, ETA and whatever `set_postfix` is given, on stderr."""
  return tqdm.tqdm(
    total=steps,
    initial=start,
    unit='step',
    desc='train',
    dynamic_ncols=True,
    mininterval=0.5,
    disable=not is_shown,
  )


def values(metrics: Mapping[str, Mean]) -> dict[str, float]:
  """Totals over weights, as plain numbers; a mean of nothing is left out."""
  means = {name: Mean(*mean) for name, mean in metrics.items()}
  return {n: mean.value() for n, mean in means.items() if float(mean.weight)}
