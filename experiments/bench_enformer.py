"""Enformer at its published size: ours beside the public torch port.

The same random weights, in a file of the public layout, and the same window.
Each side is a process of its own: seconds of one forward pass to the 896
vectors, and the peak of its memory, weights and their reading included.
"""

import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

OURS, PORT = 'jax', 'torch'
# Of issue and paper page: of the largest.
TOLERANCE = 1e-4
_WINDOW = 196_608
_GAMMA = (1_536, 32)


def measure(num_rounds: int = 2) -> list[dict[str, Any]]:
  """A row for each side, ours with how far it is from the other.

  Args:
    num_rounds: Passes after the first, of which the fastest counts.
  """
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    _call('write', folder, num_rounds)
    rows = [_call(side, folder, num_rounds) for side in (OURS, PORT)]
    ours, port = (np.load(folder / f'{side}.npy') for side in (OURS, PORT))
    distance = float(np.abs(ours - port).max() / np.abs(port).max())
  return [{**rows[0], 'relative_error': distance}, rows[1]]


def format_table(rows: list[dict[str, Any]]) -> str:
  """A line per side; in brackets the ratio to torch."""
  port = rows[-1]
  return '\n'.join(
    f'{row["side"]:6}  {row["seconds"]:7.2f} s '
    f'({row["seconds"] / port["seconds"]:.2f}x)  '
    f'{row["gigabytes"]:6.2f} GB ({row["gigabytes"] / port["gigabytes"]:.2f}x)'
    + (
      f'  largest difference {row["relative_error"]:.1e} of the largest value'
      if 'relative_error' in row
      else ''
    )
    for row in rows
  )


def _call(what: str, folder: pathlib.Path, num_rounds: int) -> dict[str, Any]:
  """Runs a part of this file as a process."""
  done = subprocess.run(
    [
      sys.executable,
      '-m',
      'experiments.bench_enformer',
      what,
      str(folder),
      str(num_rounds),
    ],
    stdout=subprocess.PIPE,
    check=True,
    text=True,
  )
  return json.loads(done.stdout.splitlines()[-1])


def _write(folder: pathlib.Path) -> None:
  """Random weights, statistics of batches among them, a window, and gamma."""
  import torch

  from gta import enformer_positions

  torch.manual_seed(0)
  model = _port()
  with torch.no_grad():
    for name, tensor in model.state_dict().items():
      if name.endswith('running_var'):
        tensor.uniform_(0.5, 2.0)
      elif tensor.is_floating_point():
        fan_in = tensor.numel() / tensor.shape[0]
        tensor.add_(0.3 * fan_in**-0.5 * torch.randn_like(tensor))
  torch.save(model.state_dict(), folder / 'pytorch_model.bin')
  index = np.random.default_rng(0).integers(0, 4, _WINDOW)
  bases = np.eye(4, dtype=np.float32)[index][None]
  np.save(folder / 'bases.npy', bases)
  length, number = _GAMMA
  features = enformer_positions.position_features(length, 6 * number)
  np.save(folder / 'gamma.npy', features[:, 2 * number : 3 * number])


def _port() -> Any:
  from enformer_pytorch import modeling_enformer

  return modeling_enformer.Enformer(modeling_enformer.EnformerConfig()).eval()


def _run_port(folder: pathlib.Path) -> Callable[[np.ndarray], np.ndarray]:
  """The port with the basis by position, which it computes by feature."""
  import torch
  from enformer_pytorch import modeling_enformer

  gamma = torch.tensor(np.load(folder / 'gamma.npy'))
  modeling_enformer.get_positional_features_gamma = (
    lambda positions, features, seq_len, dtype: gamma.to(dtype)
  )
  model = _port()
  path = folder / 'pytorch_model.bin'
  model.load_state_dict(torch.load(path, weights_only=True, mmap=True))

  def run(bases: np.ndarray) -> np.ndarray:
    with torch.no_grad():
      given = torch.from_numpy(bases)
      return model(given, return_only_embeddings=True).numpy()

  return run


def _run_ours(folder: pathlib.Path) -> Callable[[np.ndarray], np.ndarray]:
  import jax
  from flax import nnx

  from gta import enformer_weights

  graph, state = nnx.split(enformer_weights.load(folder))
  state = jax.device_put(state)
  compiled = jax.jit(
    lambda state, bases: nnx.merge(graph, state).features(bases)
  )
  return lambda bases: np.asarray(compiled(state, bases))


def main(argv: list[str]) -> None:
  """One process: writes weights, or runs one side."""
  what, folder, num_rounds = argv[0], pathlib.Path(argv[1]), int(argv[2])
  if what == 'write':
    _write(folder)
    print('{}')
    return
  run = {OURS: _run_ours, PORT: _run_port}[what](folder)
  bases = np.load(folder / 'bases.npy')
  found = run(bases)
  seconds = []
  for _ in range(num_rounds):
    start = time.perf_counter()
    run(bases)
    seconds.append(time.perf_counter() - start)
  np.save(folder / f'{what}.npy', found)
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
  print(json.dumps({'side': what, 'seconds': min(seconds), 'gigabytes': peak}))


if __name__ == '__main__':
  main(sys.argv[1:])
