"""Signals that ask a run to stop."""

import contextlib
import signal
import threading
from collections.abc import Iterator

from backbone.train import processes

# Steps after which several processes tell each other of signals: they wait for
# the device then.
_AGREE_EVERY = 10


@contextlib.contextmanager
def stop_on_signal() -> Iterator[threading.Event]:
  """An event set by SIGTERM or SIGINT; a second SIGINT acts as usual.

  SIGTERM may come several times, from whoever ends a whole group of processes.
  """
  stop = threading.Event()
  if threading.current_thread() is not threading.main_thread():
    yield stop
    return
  previous = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)}

  def request(signum, frame):
    del signum, frame
    stop.set()
    signal.signal(signal.SIGINT, previous[signal.SIGINT])

  for s in previous:
    signal.signal(s, request)
  try:
    yield stop
  finally:
    for s, handler in previous.items():
      signal.signal(s, handler)


def is_stopped(stop: threading.Event, step: int) -> bool:
  """Whether a signal came; several processes agree now and then."""
  if processes.number() == 1:
    return stop.is_set()
  return step % _AGREE_EVERY == 0 and processes.any_of(stop.is_set())
