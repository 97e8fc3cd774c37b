"""Kernel benchmarks: `python -m backbone.kernels.bench gated_delta`.

  --device=cpu|gpu      measured here, all forms in turn, median of rounds
  --topology=v5e:2x2    compiler-estimated, on one chip of a TPU that is not
                        here, beside the floor of arithmetic and memory traffic

A form whose tests fail gets no figure. With --json also prints the rows, one
JSON object a line.
"""

import argparse
import dataclasses
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
from tqdm import tqdm

from backbone import memory
from backbone.kernels import estimate, peers, verified
from backbone.kernels.attention import api as attention_api
from backbone.kernels.attention import shapes as attention_shapes
from backbone.kernels.gated_delta import api as gated_delta_api
from backbone.kernels.gated_delta import shapes as gated_delta_shapes

OPS = {
  'gated_delta': (gated_delta_api.gated_delta, gated_delta_shapes),
  'attention': (attention_api.attention, attention_shapes),
}
FORMS = {
  'gated_delta': gated_delta_api.IMPLEMENTATIONS,
  'attention': attention_api.IMPLEMENTATIONS,
}
# Those made for a platform; the reference is for comparison of values only.
MADE_FOR = {
  'cpu': ('xla', 'native_cpu'),
  'gpu': ('xla', 'pallas_gpu', 'cudnn'),
  'tpu': ('xla', 'pallas_tpu'),
}
PASSES = ('forward', 'forward+backward')
_FEWEST_ROUNDS, _MOST_ROUNDS, _SECONDS_A_FORM = 5, 31, 1.0
_TOKENS = {'cpu': 8_192, 'gpu': 32_768, 'tpu': 32_768}

_COLUMNS = (
  ('implementation', '{}', 'implementation'),
  ('pass', '{}', 'pass'),
  ('batch', '{:,}', 'batch'),
  ('length', '{:,}', 'length'),
  ('milliseconds', '{:.3f}', 'ms'),
  ('nanoseconds_per_token', '{:,.1f}', 'ns/token'),
  ('of_floor', '{:.0%}', 'of the floor'),
  ('hbm_bytes', '{:,.0f}', 'HBM bytes'),
  ('vmem_bytes', '{:,}', 'VMEM bytes'),
  ('spills', '{:,}', 'spills a step'),
)


def main(argv: Sequence[str]) -> int:
  """Prints a table; returns the exit code."""
  options = _parse(argv)
  platform = 'tpu' if options.topology else options.device
  names = [n for n in MADE_FOR[platform] if n in FORMS[options.op]]
  if options.op == 'attention':
    names = [n for n in names if _runs_here(n)]
  if options.implementation != 'all':
    names = [options.implementation]
  for name in names:
    if failure := verified.failure(options.op, name):
      print(f'{options.op} {name}: no figures. {failure}', file=sys.stderr)
      return 1
  if options.topology:
    rows = _estimate(options, names)
  else:
    rows = _measure(options, names)
  how = 'compiler-estimated' if options.topology else 'measured'
  where = options.topology or jax.devices()[0].device_kind
  print(f'{options.op}, {how}, {where}, {rows[0]["dtype"]}\n')
  print(_table(rows), flush=True)
  if options.json:
    print('\n'.join(json.dumps(row) for row in rows))
  return 0


def _runs_here(name: str) -> bool:
  reason = attention_api.UNAVAILABLE.get(name, lambda: None)()
  if reason is not None:
    print(f'attention {name}: {reason}', file=sys.stderr)
  return reason is None


def _parse(argv: Sequence[str]) -> argparse.Namespace:
  parser = argparse.ArgumentParser(prog='python -m backbone.kernels.bench')
  parser.add_argument('op', choices=OPS)
  parser.add_argument('--implementation', default='all')
  parser.add_argument('--device', choices=('cpu', 'gpu'), default='cpu')
  parser.add_argument('--topology', help='as v5e:2x2, v5p:2x2x1, v6e:2x2')
  parser.add_argument('--lengths', help='tokens, as 512,4096')
  parser.add_argument('--json', action='store_true')
  options = parser.parse_args(argv)
  known = ('all', *FORMS[options.op])
  if options.implementation not in known:
    parser.error(f'--implementation is one of {", ".join(known)}')
  if options.topology:
    try:
      estimate.chip(options.topology)
    except ValueError as error:
      parser.error(f'--topology: {error}')
  elif options.device == 'gpu' and jax.default_backend() != 'gpu':
    parser.error('--device=gpu: JAX sees no GPU here')
  return options


def _shapes(options, platform: str) -> list[Any]:
  module = OPS[options.op][1]
  shape, lengths = module.ACCELERATOR, module.ACCELERATOR_LENGTHS
  if platform == 'cpu':
    shape, lengths = module.CPU, module.CPU_LENGTHS
  if options.lengths:
    lengths = [int(n) for n in options.lengths.split(',')]
  return [
    dataclasses.replace(shape, length=n, batch=max(1, _TOKENS[platform] // n))
    for n in lengths
  ]


def _program(op: str, implementation: str, which: str) -> Callable:
  """Of the op's arguments and the gradient of its output."""
  function = OPS[op][0]

  def forward(*arguments):
    results = function(*arguments, implementation=implementation)
    return jax.tree.leaves(results)[0]

  def both(d_output, *arguments):
    output, gradients = jax.vjp(forward, *arguments)
    return output, gradients(d_output)

  return both if which != 'forward' else lambda _, *x: forward(*x)


def _row(options, shape, implementation: str, which: str) -> dict[str, Any]:
  return {
    'op': options.op,
    'implementation': implementation,
    'topology': options.topology,
    'length': shape.length,
    'batch': shape.batch,
    'dtype': shape.dtype,
    'pass': which,
  }


def _estimate(options, names: Sequence[str]) -> list[dict]:
  compiler = estimate.Compiler(options.topology)
  rows = []
  work = [
    (shape, name, which)
    for shape in _shapes(options, 'tpu')
    for name in names
    for which in PASSES
  ]
  for shape, name, which in tqdm(work, desc='compile', disable=None):
    row = _row(options, shape, name, which)
    arguments = shape.arguments()
    rows.append(row)
    backward = which != 'forward'
    floor = compiler.chip.floor(
      shape.flops(backward=backward), shape.num_bytes(backward=backward)
    )
    row['floor_seconds'] = floor
    try:
      cost = compiler.on_one_chip(
        _program(options.op, name, which),
        [arguments['value'], *arguments.values()],
      )
    except jax.errors.JaxRuntimeError as error:
      if 'RESOURCE_EXHAUSTED' not in str(error):
        raise
      row['note'] = 'does not fit the memory of the chip'
      continue
    row |= {
      'estimated_seconds': cost.seconds,
      'hbm_bytes': cost.hbm_bytes,
      'vmem_bytes': max((k.vmem_bytes for k in cost.kernels), default=None),
      'spills': sum(k.spills for k in cost.kernels) if cost.kernels else None,
      'kernels': [dataclasses.asdict(kernel) for kernel in cost.kernels],
    }
  return rows


def _measure(options, names: Sequence[str]) -> list[dict]:
  rows = []
  for shape in _shapes(options, options.device):
    for which in PASSES:
      rows += _measure_together(options, shape, names, which)
  return rows


def _measure_together(options, shape, names, which: str) -> list[dict]:
  """Every form in turn, so that what else the machine does meets all."""
  arguments = shape.draw(jax.random.key(0))
  inputs = (arguments['value'], *arguments.values())
  runs = {}
  for name in names:
    run = jax.jit(_program(options.op, name, which))
    runs[name] = lambda run=run: jax.block_until_ready(run(*inputs))
  if peer := peers.torch_peer(options.op, inputs, which):
    runs['torch'] = peer
  seconds = {name: [] for name in runs}
  for run in runs.values():
    run()
  rounds = _MOST_ROUNDS
  while len(seconds[names[0]]) < rounds:
    for name, run in runs.items():
      start = time.perf_counter()
      run()
      seconds[name].append(time.perf_counter() - start)
    slowest = max(times[0] for times in seconds.values())
    enough = int(_SECONDS_A_FORM / slowest)
    rounds = min(max(enough, _FEWEST_ROUNDS), _MOST_ROUNDS)
  return [
    _row(options, shape, name, which)
    | {'measured_seconds': statistics.median(times), 'floor_seconds': None}
    for name, times in seconds.items()
  ]


def _table(rows: Sequence[dict]) -> str:
  shown = []
  for row in rows:
    seconds = row.get('estimated_seconds', row.get('measured_seconds'))
    cells = dict(row)
    if seconds is not None:
      tokens = row['batch'] * row['length']
      cells['milliseconds'] = 1e3 * seconds
      cells['nanoseconds_per_token'] = 1e9 * seconds / tokens
      if row['floor_seconds']:
        cells['of_floor'] = row['floor_seconds'] / seconds
    shown.append(cells)
  used = [
    c for c in _COLUMNS if any(row.get(c[0]) is not None for row in shown)
  ]
  lines = [' | '.join(title for *_, title in used)]
  lines.append(' | '.join('---' for _ in used))
  for row in shown:
    cells = [
      form.format(row[name]) if row.get(name) is not None else ''
      for name, form, _ in used
    ]
    lines.append(' | '.join([*cells, row.get('note', '')]).rstrip(' |'))
  return '\n'.join(f'| {line} |' for line in lines)


if __name__ == '__main__':
  if any(argument.startswith('--topology') for argument in sys.argv):
    os.environ['JAX_PLATFORMS'] = 'cpu'
  memory.keep_memory()
  sys.exit(main(sys.argv[1:]))
