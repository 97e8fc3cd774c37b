"""A run among faults, beside the same run undisturbed.

  python -m tests.experiments.faults --config=FILE[:arg] --out=DIR \
      --minutes=30 [--config.a.b=value ...]

Kills, a signal, a batch of NaN, a reader that hangs, a damaged checkpoint and a
full disk come one after the other, each some steps after the run went on; the
same command is repeated until it finishes. A file system of its own at
DIR/disturbed (`mount -t tmpfs -o size=256m tmpfs DIR/disturbed`) is filled;
else, or above 4 GB, files are kept from growing instead. Prints what happened
and what the run said of it, and whether the parameters are those of the run
that nothing disturbed.
"""

import argparse
import contextlib
import dataclasses
import json
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from backbone.train import metrics
from data_pipelines import errors
from tests.experiments.commands import ROOT

# And how the run is to end.
EVENTS = {
  'kill': -9,
  'nan': 3,
  'slow': 75,
  'damage': -9,
  'full disk': 2,
  'signal': 75,
}
SLOW_SECONDS = 12.0
_SMALL_BYTES, _LARGEST_FILE = 4 << 30, 20_000
_CONFIG = """
import importlib.util

def get_config(arg=None):
  spec = importlib.util.spec_from_file_location('inner', {file!r})
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  config = module.get_config({arg})
  config.data = {{'name': 'tests.experiments.faults:Faulty',
                 'data': config.data.to_dict(), 'faults': ''}}
  config.tables = {{}}
  return config
"""


class Faulty:
  """Data whose next batch is of NaN, or late, if a file asks for it."""

  def __init__(self, data: Any, faults: str):
    self._data = data
    self._faults = pathlib.Path(faults)

  def __getattr__(self, name: str) -> Any:
    return getattr(self._data, name)

  def train(self, **process) -> '_FaultyBatches':
    return _FaultyBatches(self._data.train(**process), self._faults)


class _FaultyBatches:
  def __init__(self, batches, faults):
    self._batches = batches
    self._faults = faults

  def __getattr__(self, name: str) -> Any:
    return getattr(self._batches, name)

  def __iter__(self):
    return self

  def __next__(self):
    batch = next(self._batches)
    if self._is_asked('slow'):
      time.sleep(SLOW_SECONDS)
    if not self._is_asked('nan'):
      return batch
    floats = [
      k for k, v in batch.items() if np.issubdtype(v.dtype, np.floating)
    ]
    if not floats:
      raise errors.InputError('no numbers in these batches to turn to NaN')
    return {**batch, **{k: np.full_like(batch[k], np.nan) for k in floats}}

  def _is_asked(self, fault: str) -> bool:
    # One call: between a look and a removal the file might appear.
    try:
      (self._faults / fault).unlink()
    except FileNotFoundError:
      return False
    return True


@dataclasses.dataclass
class Disturbed:
  """A run that is started again and again."""

  command: list[str]
  workdir: pathlib.Path
  faults: pathlib.Path
  rng: random.Random

  def step(self) -> int:
    """Of its newest line of metrics."""
    lines = metrics.read_metrics(self.workdir / 'metrics.jsonl')
    return lines[-1]['step'] if lines else 0

  def start(self, *, has_room: bool = True) -> subprocess.Popen:
    """The command; without room no file may grow far."""

    def limit():
      resource.setrlimit(resource.RLIMIT_FSIZE, (_LARGEST_FILE,) * 2)

    return subprocess.Popen(
      self.command,
      cwd=ROOT,
      stdout=(self.faults / 'out').open('w'),
      stderr=(self.faults / 'err').open('w'),
      preexec_fn=None if has_room else limit,
    )

  def said(self) -> list[str]:
    """Whole lines on stderr, without the progress bar."""
    text = (self.faults / 'err').read_text().replace('\r', '\n')
    lines = [line.strip() for line in text.split('\n')]
    return [x for x in lines if x and 'step/s' not in x and '%|' not in x]

  def go_on_for(self, process: subprocess.Popen, steps: int) -> bool:
    """Waits until it is so much further; False if it ended before."""
    wanted = self.step() + steps
    while process.poll() is None and self.step() < wanted:
      time.sleep(0.05)
    return process.poll() is None


def disturb(run: Disturbed, event: str, steps: int) -> tuple[int, list[str]]:
  """One start of the run with one event: its exit code, and what it said."""
  is_small = run.workdir.is_mount()
  is_small &= shutil.disk_usage(run.workdir).total < _SMALL_BYTES
  is_full = event == 'full disk'
  process = run.start(has_room=is_small or not is_full)
  filler = run.workdir / 'filler'
  if run.go_on_for(process, run.rng.randint(1, steps)):
    if event in ('kill', 'damage'):
      process.kill()
    elif event == 'signal':
      process.send_signal(signal.SIGTERM)
    elif event in ('nan', 'slow'):
      (run.faults / event).touch()
      if event == 'slow':
        time.sleep(SLOW_SECONDS + 3)
        process.send_signal(signal.SIGTERM)
    elif is_full and is_small:
      _fill(filler)
  code = process.wait()
  filler.unlink(missing_ok=True)
  if event == 'damage':
    _damage(run.workdir / 'checkpoints')
  return code, run.said()


def _fill(path: pathlib.Path) -> None:
  """Leaves nothing free."""
  with contextlib.suppress(OSError), open(path, 'wb', buffering=0) as file:
    while True:
      file.write(bytes(1 << 16))


def _damage(checkpoints: pathlib.Path) -> None:
  """Turns a bit of every file of the newest of several checkpoints."""
  steps = [p for p in checkpoints.glob('*') if p.name.isdigit()]
  if len(steps) < 2:
    return
  newest = max(steps, key=lambda p: int(p.name))
  for file in newest.rglob('*'):
    # Not all of them are read: orbax leaves some that it merged.
    if file.is_file() and 'state' in file.parts and file.stat().st_size:
      data = bytearray(file.read_bytes())
      data[len(data) // 2] ^= 1
      file.write_bytes(data)


def run_among_faults(
  config: str,
  out: pathlib.Path,
  is_over: Callable[[int], bool],
  steps: int,
  extra: list[str],
) -> tuple[list[tuple[str, int, int, list[str]]], bool]:
  """Both runs.

  Args:
    config: FILE or FILE:arg.
    out: Folder.
    is_over: Whether that many events are enough; the run is left to finish.
    steps: Between two events, at most.
    extra: Overrides of the configuration; paths of data are config.data.data.

  Returns:
    Of every start the event, the step it came to, the exit code and the lines;
    and whether the parameters are the same.
  """
  file, _, arg = config.partition(':')
  text = _CONFIG.format(
    file=str(pathlib.Path(file).resolve()), arg=repr(arg) if arg else ''
  )
  wrapped = out / 'wrapped.py'
  wrapped.write_text(text)
  runs = {}
  for name in ('quiet', 'disturbed'):
    faults = out / f'{name}-faults'
    faults.mkdir(exist_ok=True)
    (out / name).mkdir(exist_ok=True)
    if any((out / name).iterdir()):
      raise SystemExit(f'{out / name}: not empty; give another --out')
    command = [sys.executable, '-m', 'experiments.run', f'--config={wrapped}']
    command += [f'--workdir={out / name}', f'--config.data.faults={faults}']
    rng = random.Random(0)
    runs[name] = Disturbed([*command, *extra], out / name, faults, rng)
  quiet = runs['quiet'].start()
  run, log = runs['disturbed'], []
  while True:
    event = [*EVENTS][len(log) % len(EVENTS)]
    if is_over(len(log)):
      event = 'none'
    code, lines = disturb(run, event, steps)
    log.append((event, run.step(), code, lines))
    print(f'{event:9} {run.step():>7} {code:>4}  {" | ".join(lines)}')
    sys.stdout.flush()
    if code == 0:
      break
    if code != EVENTS.get(event, 0):
      quiet.kill()
      raise SystemExit(f'{event}: ended with {code}: {" | ".join(lines)}')
  assert quiet.wait() == 0, runs['quiet'].said()
  shas = [
    json.loads((out / name / 'finished.json').read_text())['summary'][
      'parameters_sha256'
    ]
    for name in runs
  ]
  return log, shas[0] == shas[1]


def main(argv: list[str]) -> int:
  """The command; 1 if the parameters differ."""
  parser = argparse.ArgumentParser()
  parser.add_argument('--config', required=True)
  parser.add_argument('--out', type=pathlib.Path, required=True)
  parser.add_argument('--minutes', type=float, default=30)
  parser.add_argument('--steps', type=int, default=60)
  known, extra = parser.parse_known_args(argv)
  known.out.mkdir(parents=True, exist_ok=True)
  deadline = time.monotonic() + 60 * known.minutes
  log, is_same = run_among_faults(
    known.config,
    known.out,
    lambda number: time.monotonic() > deadline,
    known.steps,
    extra,
  )
  print(f'{len(log)} starts; parameters equal: {"yes" if is_same else "NO"}')
  return 0 if is_same else 1


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
