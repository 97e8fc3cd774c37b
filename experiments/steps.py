"""Commands that a table needs, as processes of their own."""

import concurrent.futures
import os
import pathlib
import queue
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tqdm import tqdm

# Of the output of a command that failed.
_LAST_LINES = 20
Step = Mapping[str, Any]


def call(module: str, arguments: Sequence[str]) -> int:
  """Runs a module of ours; its output is shown; returns the exit code."""
  print('$ python -m', module, *map(str, arguments), flush=True)
  command = [sys.executable, '-m', module, *map(str, arguments)]
  return subprocess.run(command, check=False).returncode


def call_together(
  steps: Sequence[Step],
  number: int,
  log_of: Callable[[Step], pathlib.Path],
  finish: Callable[[Step], None],
) -> int:
  """Runs commands that need nothing of each other, so many at once.

  Small models leave cores idle that another run can use; each has an equal
  share of them for itself.

  Args:
    steps: With 'module' and 'arguments'.
    number: At once.
    log_of: Where the output of a command goes.
    finish: Called with each that ended well.

  Returns:
    0, or the exit code of the first that failed; later ones are not begun.
  """
  cores = sorted(os.sched_getaffinity(0))
  shares: queue.SimpleQueue[list[int]] = queue.SimpleQueue()
  for at in range(number):
    shares.put(cores[at::number] or cores)

  def run(step: Step) -> int:
    share = shares.get()
    command = [sys.executable, '-m', step['module'], *step['arguments']]
    log = log_of(step)
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
      with log.open('w') as file:
        process = subprocess.Popen(
          [*map(str, command)], stdout=file, stderr=subprocess.STDOUT
        )
        # Before it has any threads, which inherit this.
        os.sched_setaffinity(process.pid, share)
        return process.wait()
    finally:
      shares.put(share)

  failed = 0
  with concurrent.futures.ThreadPoolExecutor(number) as pool:
    runs = {pool.submit(run, step): step for step in steps}
    done = concurrent.futures.as_completed(runs)
    for future in tqdm(done, total=len(runs), desc='runs', disable=None):
      if future.cancelled():
        continue
      code, step = future.result(), runs[future]
      if not code:
        finish(step)
      elif not failed:
        failed = code
        for other in runs:
          other.cancel()
        lines = log_of(step).read_text().splitlines()[-_LAST_LINES:]
        print(*lines, f'see {log_of(step)}', sep='\n', file=sys.stderr)
  return failed
