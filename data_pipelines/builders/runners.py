"""Where the parts of a build are worked on: here, or by Apache Beam."""

import contextlib
import dataclasses
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence

import tqdm

from data_pipelines.errors import InputError

# Between two looks at how much is done.
_SECONDS = 1.0


def here(work: Callable[[str], None], paths: Sequence[str], stage: str) -> None:
  """Each plan in turn, in this process."""
  for path in tqdm.tqdm(paths, stage, leave=False, unit=''):
    work(path)


@dataclasses.dataclass(frozen=True)
class Beam:
  """A pipeline of Apache Beam; workers need to see the folder of the build.

  Attributes:
    runner: As Beam names it: DirectRunner, DataflowRunner, FlinkRunner, …
    options: As on Beam's command line, `--NAME=VALUE`.

  Raises:
    InputError: Beam is not installed, or has no such runner or option.
  """

  runner: str
  options: tuple[str, ...] = ()

  def __post_init__(self):
    self._start()

  def __call__(
    self, work: Callable[[str], None], paths: Sequence[str], stage: str
  ) -> None:
    """The work of each plan, by some worker."""
    beam, options = self._start()
    try:
      with (
        _quiet(),
        _progress(paths, stage),
        beam.Pipeline(self.runner, options) as pipeline,
      ):
        # Shuffled, or else one worker would have all of them.
        read = pipeline | beam.Create(list(paths)) | beam.Reshuffle()
        _ = read | beam.Map(work)
    except Exception as error:
      # Beam gives the stack of the worker; its end says what went wrong.
      last = str(error).strip().splitlines()[-1:] or [type(error).__name__]
      raise OSError(f'{stage}: a worker failed: {last[0]}') from error

  def _start(self):
    try:
      import apache_beam as beam
      from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
      raise InputError(
        '--runner needs Apache Beam; pip install multiomics-jax[beam]'
      ) from error
    with _quiet(), _heard(PipelineOptions.__module__) as heard:
      options = PipelineOptions(
        list(self.options), default_sdk_harness_log_level='ERROR'
      )
      try:
        options.get_all_options()
      except SystemExit as error:
        raise InputError(f'--beam_option: {" ".join(self.options)}') from error
      if unknown := [text for text in heard if 'unparseable' in text]:
        raise InputError(f'--beam_option: Beam says: {unknown[0]}')
      try:
        beam.Pipeline(self.runner, options)
      except ValueError as error:
        raise InputError(f'--runner={self.runner}: {error}') from error
    return beam, options


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Beam tells a story of its own; what goes wrong, it raises."""
  loggers = [logging.getLogger(name) for name in (None, 'apache_beam')]
  levels = [logger.level for logger in loggers]
  for logger in loggers:
    logger.setLevel(logging.ERROR)
  try:
    yield
  finally:
    for logger, level in zip(loggers, levels, strict=True):
      logger.setLevel(level)


@contextlib.contextmanager
def _heard(name: str) -> Iterator[list[str]]:
  """What a logger warns of; it stays unseen."""
  texts: list[str] = []

  class Listener(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
      texts.append(record.getMessage())

  logger, listener = logging.getLogger(name), Listener()
  before = logger.level, logger.propagate
  logger.addHandler(listener)
  logger.setLevel(logging.WARNING)
  logger.propagate = False
  try:
    yield texts
  finally:
    logger.removeHandler(listener)
    logger.setLevel(before[0])
    logger.propagate = before[1]


@contextlib.contextmanager
def _progress(paths: Sequence[str], stage: str) -> Iterator[None]:
  """A bar of the plans that are done with, which are then gone."""
  is_over = threading.Event()
  with tqdm.tqdm(total=len(paths), desc=stage, leave=False, unit='') as bar:

    def look() -> None:
      while not is_over.wait(_SECONDS):
        bar.n = sum(not os.path.exists(path) for path in paths)
        bar.refresh()

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
      yield
    finally:
      is_over.set()
      looking.join()
