"""What libraries would say of failures that we tell in one line."""

import functools
import logging
import sys

from absl import logging as absl_logging


@functools.cache
def say_once() -> None:
  """What fails in orbax's threads is told by us, in one line, not by each."""

  def is_ours(record: logging.LogRecord) -> bool:
    is_error = record.levelno >= logging.ERROR
    return not (is_error and '/orbax/' in record.pathname)

  def is_retrieved(record: logging.LogRecord) -> bool:
    return 'never retrieved' not in record.getMessage()

  absl_logging.get_absl_logger().addFilter(is_ours)
  logging.getLogger('asyncio').addFilter(is_retrieved)
  logging.getLogger('gcsfs').setLevel(logging.CRITICAL + 1)
  usual = sys.unraisablehook

  def hook(unraisable):
    # TensorStore goes on writing for loops that have ended with an error.
    if str(unraisable.exc_value) != 'Event loop is closed':
      usual(unraisable)

  sys.unraisablehook = hook
