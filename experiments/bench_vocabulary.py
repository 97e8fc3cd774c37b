"""A step of learning a vocabulary: ours beside torch's, in one run."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from backbone import sharding
from backbone.train import optim, state
from experiments import command_line, common

CONFIG = 'experiments/vqdna/tokenizer.py'
OURS, TORCH = 'ours', 'torch'
_ROUNDS = 5
# Codes are placed and the allocator is warm after so many.
_WARM = 2


def measure(size: str = 'cpu', num_rounds: int = _ROUNDS) -> list[dict]:
  """Rows `implementation, steps_per_second, parameters, bases` of a size.

  Both take turns, so that a busy machine disturbs them alike; a figure is the
  median over the rounds.
  """
  config = command_line.load_config(CONFIG, size).to_dict()
  data = config['data']
  shape = data['batch_size'], data['row_length']
  sequence = np.random.default_rng(0).integers(0, 4, shape).astype(np.uint8)
  steps = {OURS: _make_step(config, sequence)}
  steps |= _torch_step(config, sequence)
  seconds = {name: [] for name in steps}
  rounds = range(_WARM + num_rounds)
  for index in tqdm(rounds, desc='vocabulary', unit='round'):
    for name, (step, _) in steps.items():
      taken = step()
      if index >= _WARM:
        seconds[name].append(taken)
  return [
    {
      'implementation': name,
      'steps_per_second': 1 / statistics.median(taken),
      'parameters': steps[name][1],
      'bases': int(sequence.size),
    }
    for name, taken in seconds.items()
  ]


def _make_step(
  config: dict[str, Any], sequence: np.ndarray
) -> tuple[Callable[[], float], int]:
  """The step of `experiments.run`, and the number of parameters."""
  objective = common.build(config['objective'], 'config.objective')
  transform = optim.AdamW(learning_rate=1e-4).transform(1_000)
  mesh = sharding.make_mesh(devices=jax.devices()[:1])
  batch = {'sequence': sequence, 'segment_ids': np.ones(sequence.shape, 'i4')}
  init_key, step_key, _ = state.run_keys(0)
  with jax.set_mesh(mesh):
    graph, abstract = state.abstract_state(objective, transform, mesh=mesh)
    create = state.make_create(objective, transform, abstract)
    run = state.make_step(
      objective, transform, graph, abstract, step_key, mesh=mesh
    )
    held = [create(init_key)]
    placed = state.to_device(batch, mesh)

  def step() -> float:
    start = time.perf_counter()
    with jax.set_mesh(mesh):
      held[0], _ = run(held[0], placed)
      jax.block_until_ready(held[0])
    return time.perf_counter() - start

  return step, sum(x.size for x in jax.tree.leaves(held[0].params))


def _torch_step(config: dict[str, Any], sequence: np.ndarray) -> dict:
  try:
    from experiments import bench_torch_vocabulary
  except ModuleNotFoundError as error:
    if error.name not in ('torch', 'vector_quantize_pytorch'):
      raise
    tqdm.write(
      f"{error.name} is missing: pip install -e '.[parity]' for its column"
    )
    return {}
  objective = config['objective']
  network = objective['network']
  levels = objective['quantiser']['levels']
  first = levels[0]
  return {
    TORCH: bench_torch_vocabulary.make_step(
      sequence,
      **{key: network[key] for key in ('stem_width', 'width', 'num_blocks')},
      sizes=[level['size'] for level in levels],
      decay=first['decay'],
      revive_below=first['revive_share'] * sequence.size / first['size'],
      commitment=objective['commitment'],
    )
  }


def format_table(rows: list[dict]) -> str:
  """A line per implementation; in brackets the ratio to torch."""
  rates = {row['implementation']: row['steps_per_second'] for row in rows}
  lines = []
  for row in rows:
    name, rate = row['implementation'], row['steps_per_second']
    ratio = f' ({rate / rates[TORCH]:.2f}x)' if TORCH in rates else ''
    lines.append(
      f'{name:6}  {row["parameters"]:>10,} parameters  '
      f'{rate:6.3f} steps/s  {rate * row["bases"]:8,.0f} bases/s{ratio}'
    )
  return '\n'.join(lines)
