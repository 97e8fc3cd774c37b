"""A build in stages on disk: it goes on where it was killed, in any processes.

Units become pieces, and pieces shards. Each is written aside and renamed, and
none is made twice; a build of other provenance begins anew. What TFDS decides
(number of shards, which record is in which, names of files, bytes of an
example), TFDS decides here too.
"""

import contextlib
import dataclasses
import errno
import fcntl
import functools
import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from tensorflow_datasets.core import dataset_info, file_adapters, naming
from tensorflow_datasets.core.utils import shard_utils

from data_pipelines import central_dogma
from data_pipelines.builders import examples, pieces
from data_pipelines.builders.manifest import VERSION, Tally
from data_pipelines.builders.units import Made, Setting, Unit
from data_pipelines.errors import InputError
from data_pipelines.records import SPLITS, Record

# Calls a function of a plan's path for each plan, wherever and in any order; a
# plan that is done with is gone.
Runner = Callable[[Callable[[str], None], Sequence[str], str], None]

_SETTING, _UNIT, _MADE = 'setting.pickle', 'unit.pickle', 'made.pickle'
_ERROR, _PROVENANCE = 'error.txt', 'provenance.json'


@dataclasses.dataclass(frozen=True)
class Stage:
  """A folder that a build fills.

  Attributes:
    folder: Seen by all processes.
    name: Of the data set.
    run: Where units are made and shards are written.
  """

  folder: Path
  name: str
  run: Runner

  @contextlib.contextmanager
  def locked(self) -> Iterator[None]:
    """While this build goes on, no other one has the folder.

    Raises:
      InputError: Another has it.
    """
    path = self.folder.with_suffix('.lock')
    taken = InputError(
      f'{self.folder.parent}: another process is building {self.name} there; '
      'wait for it'
    )
    with open(path, 'w') as file:
      try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except BlockingIOError as error:
        raise taken from error
      except OSError as error:
        # Some file systems of clusters know no locks.
        if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
          raise
      # Whoever had it before may have removed the file that was opened here.
      if not path.exists() or not os.path.samestat(
        os.fstat(file.fileno()), path.stat()
      ):
        raise taken
      try:
        yield
      finally:
        path.unlink()

  @contextlib.contextmanager
  def emptied(self) -> Iterator[None]:
    """Removes the folder at the end; not if the same command can go on."""
    try:
      yield
    except InputError:
      self._remove()
      raise
    self._remove()

  def _remove(self) -> None:
    # First what says that the rest is whole: this may be killed, too.
    (self.folder / _PROVENANCE).unlink(missing_ok=True)
    shutil.rmtree(self.folder, ignore_errors=True)

  def begin(self, provenance: Mapping[str, Any]) -> bool:
    """Keeps what is there of the same build by the same code, and only that.

    Returns:
      Whether there is something.
    """
    file = self.folder / _PROVENANCE
    text = json.dumps({'code': _code(), **provenance}, sort_keys=True)
    is_same = file.exists() and file.read_text() == text
    if not is_same:
      self._remove()
      self.folder.mkdir(parents=True)
      pieces.write_bytes(file, text.encode())
    (self.folder / _ERROR).unlink(missing_ok=True)
    return is_same

  def make(
    self, setting: Setting, units: Sequence[Unit], stage: str
  ) -> list[Path]:
    """Folders of the pieces of units, in their order."""
    pieces.write_bytes(self.folder / _SETTING, pickle.dumps(setting))
    folders = []
    for number, unit in enumerate(units):
      folder = self.folder / stage / f'{number:06d}'
      folders.append(folder)
      if not (folder / _MADE).exists():
        folder.mkdir(parents=True, exist_ok=True)
        pieces.write_bytes(folder / _UNIT, pickle.dumps(unit))
    plans = [f / _UNIT for f in folders if not (f / _MADE).exists()]
    self._run(_make, plans, stage)
    return folders

  def do(
    self,
    work: Callable[[str], None],
    plans: Sequence[tuple[Path, Any, Path]],
    stage: str,
  ) -> None:
    """Works on each plan (its file, what it says, its result) not done yet."""
    missing = [(file, plan) for file, plan, done in plans if not done.exists()]
    for file, plan in missing:
      file.parent.mkdir(parents=True, exist_ok=True)
      pieces.write_bytes(file, pickle.dumps(plan))
    self._run(work, [file for file, _ in missing], stage)

  def keep(self, records: Mapping[str, Iterable[Record]]) -> tuple[Path, Tally]:
    """A folder of pieces of records that are at hand."""
    folder, tally = self.folder / 'given', Tally()
    folder.mkdir()
    pairs = (
      (split, record) for split, those in records.items() for record in those
    )
    pieces.write_records(folder, pairs, tally)
    return folder, tally

  def write_shards(self, folders: Sequence[Path], sizes: Tally) -> Path:
    """The data set as TFDS has it, of all pieces of each split in order."""
    directory = self.folder / 'whole' / self.name / VERSION
    directory.mkdir(parents=True, exist_ok=True)
    paths, infos = [], []
    if not any(sizes.lengths.values()):
      raise InputError(
        'no record to write: every one was rejected, or none given'
      )
    for split in SPLITS:
      if not (number := len(sizes.lengths.get(split, ()))):
        continue
      template = _template(self.name, split, directory)
      size = sizes.sizes[split]
      num_shards = shard_utils.ShardConfig().get_number_shards(size, number)
      ends = shard_utils.get_shard_boundaries(number, num_shards)
      starts = [0, *ends[:-1]]
      for index, span in enumerate(zip(starts, ends, strict=True)):
        target = template.sharded_filepath(
          shard_index=index, num_shards=num_shards
        )
        plan = self.folder / 'shards' / target.name
        plan.parent.mkdir(exist_ok=True)
        files = [str(folder / split) for folder in folders]
        if not Path(target).exists():
          pieces.write_bytes(plan, pickle.dumps((str(target), files, *span)))
          paths.append(plan)
      lengths = [stop - start for start, stop in zip(starts, ends, strict=True)]
      infos.append(
        tfds.core.SplitInfo(
          name=split,
          shard_lengths=lengths,
          num_bytes=size,
          filename_template=template,
        )
      )
    self._run(_write_shard, paths, 'shards')
    # Of workers that were killed.
    for left in directory.glob('.*.unfinished'):
      left.unlink()
    _write_info(directory, self.name, infos)
    return directory

  def _run(
    self, work: Callable[[str], None], paths: Sequence[Path], stage: str
  ) -> None:
    """Does the work of each path.

    Raises:
      InputError: As some worker did, whichever process it was in.
    """
    if paths:
      self.run(work, [str(path) for path in paths], stage)
    if (error := self.folder / _ERROR).exists():
      raise InputError(error.read_text())
    if left := [path for path in paths if path.exists()]:
      raise OSError(
        f'{left[0]}: no worker did this part; do all of them see the folder?'
      )


@functools.cache
def _code() -> str:
  """Hash of the sources that parts depend on."""
  root = Path(central_dogma.__file__).parent
  digest = hashlib.sha256()
  for file in sorted(root.rglob('*.py')):
    digest.update(file.read_bytes())
  return digest.hexdigest()


def made(folders: Sequence[Path]) -> Iterator[Made]:
  """What is known of each piece."""
  for folder in folders:
    yield pickle.loads((folder / _MADE).read_bytes())


def _make(path: str) -> None:
  """Writes the pieces of a unit beside its plan."""
  folder = Path(path).parent
  root = folder.parents[1]
  if (folder / _MADE).exists() or (root / _ERROR).exists():
    return
  unit: Unit = pickle.loads(Path(path).read_bytes())
  setting = root / _SETTING
  done = Made()
  try:
    records = unit.records(_setting(setting, setting.stat().st_mtime_ns), done)
    pieces.write_records(folder, records, done.tally)
  except InputError as error:
    pieces.write_bytes(root / _ERROR, str(error).encode())
    return
  pieces.write_bytes(folder / _MADE, pickle.dumps(done))
  Path(path).unlink(missing_ok=True)


def _write_shard(path: str) -> None:
  """Writes the shard of a plan."""
  if not os.path.exists(path):
    return
  target, files, start, stop = pickle.loads(Path(path).read_bytes())
  target = Path(target)
  adapter = file_adapters.ADAPTER_FOR_FORMAT[
    file_adapters.FileFormat.ARRAY_RECORD
  ]
  with pieces.whole(target) as unfinished:
    found = pieces.read_span(files, start, stop)
    adapter.write_examples(unfinished, enumerate(found))
  Path(path).unlink(missing_ok=True)


@functools.lru_cache(maxsize=1)
def _setting(path: Path, modified: int) -> Setting:
  del modified  # Another build may have had the same folder.
  return pickle.loads(path.read_bytes())


def _write_info(
  directory: Path, name: str, splits: Sequence[tfds.core.SplitInfo]
) -> None:
  """What TFDS needs to read shards."""
  info = tfds.core.DatasetInfo(
    builder=dataset_info.DatasetIdentity(
      name=name,
      version=tfds.core.Version(VERSION),
      data_dir=str(directory),
      module_name=__name__,
    ),
    features=examples.features(),
    # The pipeline shuffles globally; here the order is the caller's.
    disable_shuffling=True,
  )
  info.set_file_format('array_record')
  info.set_splits(tfds.core.splits.SplitDict(splits))
  info.write_to_directory(directory)


def _template(
  name: str, split: str, directory: Path
) -> naming.ShardedFileTemplate:
  return naming.ShardedFileTemplate(
    data_dir=directory,
    dataset_name=name,
    split=split,
    filetype_suffix='array_record',
  )
