"""Files of a build in stages: written whole or not at all, read in order."""

import contextlib
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from array_record.python import array_record_module

from data_pipelines.builders import examples
from data_pipelines.builders.manifest import Tally
from data_pipelines.records import Record

_READ_AT_ONCE = 256


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
  """A path to write to, which becomes `path` at the end.

  Of its own: some runners do the same work twice at once.
  """
  unfinished = path.with_name(f'.{path.name}.{uuid.uuid4().hex}.unfinished')
  try:
    yield unfinished
    unfinished.rename(path)
  finally:
    unfinished.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
  """A small file."""
  with whole(path) as unfinished:
    unfinished.write_bytes(data)


def write_records(
  folder: Path, records: Iterable[tuple[str, Record]], tally: Tally
) -> None:
  """Writes the records of each split to a file of its own, and counts them."""
  writers = {}
  with contextlib.ExitStack() as files:
    for split, record in records:
      if split not in writers:
        unfinished = files.enter_context(whole(folder / split))
        writers[split] = array_record_module.ArrayRecordWriter(
          str(unfinished), 'group_size:16,zstd:1'
        )
        # Before it is renamed.
        files.callback(writers[split].close)
      data = examples.serialize(record)
      tally.add(split, record, len(data))
      writers[split].write(data)


def read_records(path: Path) -> Iterator[bytes]:
  """All examples of a split of a piece; none if it has no such split."""
  if path.exists():
    yield from read_span([str(path)], 0, _number(str(path)))


def read_span(files: Sequence[str], start: int, stop: int) -> Iterator[bytes]:
  """Those of a span, of files that lie one behind the other, if they exist.

  Raises:
    OSError: They do not have so many.
  """
  first = 0
  for file in files:
    if first >= stop:
      return
    if not os.path.exists(file):
      continue
    number = _number(file)
    begin, end = max(start - first, 0), min(stop - first, number)
    with contextlib.closing(
      array_record_module.ArrayRecordReader(file)
    ) as reader:
      for low in range(begin, end, _READ_AT_ONCE):
        yield from reader.read(low, min(low + _READ_AT_ONCE, end))
    first += number
  if first < stop:
    raise OSError(f'{files[-1]}: records of a part are missing; build anew')


def _number(file: str) -> int:
  with contextlib.closing(
    array_record_module.ArrayRecordReader(file)
  ) as reader:
    return reader.num_records()
