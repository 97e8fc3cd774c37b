"""What a run would take on a pod that is not here, before one is rented.

  python -m experiments.preflight --config=FILE[:arg] --topology=v5p:4x4x8 \
      [--mesh=data:64,seq:1,model:2] [--search] [--json] [--config.a=b ...]

Compiles the run's training step with the TPU's own compiler, which needs the
extra `tpu` and no TPU, and prints what a chip holds, how long a step takes and
what crosses between chips. Where it does not fit, smaller micro-batches are
tried until it does; --search also compiles other meshes and names the fastest
that fits. Weights and data need not be here (`experiments/planned.py`). For
GPUs, as --topology=h100:8x8 (hosts x GPUs), there is no compiler here: those
figures are a formula's. Exit codes: 0 it fits, 1 it does not, 2 a mistake.
"""

import dataclasses
import json
import os
import sys
from collections.abc import Sequence

from experiments import command_line, common

_OWN = ('--topology=', '--mesh=', '--search', '--json')
# Bases a second that one core of a host reads, decoded before and on a first
# pass, with no workers (docs/benchmarks.md, Loader).
_LOADER_BASES = (120.8e6, 34.6e6)


def main(argv: Sequence[str]) -> int:
  """Prints the plan; returns the exit code."""
  try:
    options, rest = _parse(argv)
    # A run's own flags, of which a plan needs no folder.
    given = command_line.read_flags([*rest, '--workdir=unused'])
    command_line.validate(given.config)
    plans = _plans(given, options)
  except (common.ConfigError, ValueError) as error:
    print(f'error: {" ".join(str(error).split())}', file=sys.stderr)
    return 2
  if '--json' in options:
    print(json.dumps([dataclasses.asdict(plan) for plan in plans]))
  else:
    print('\n\n'.join(describe(plan) for plan in plans))
  return 0 if any(plan.fits for plan in plans) else 1


def _parse(argv: Sequence[str]) -> tuple[dict[str, str], list[str]]:
  own = [a for a in argv[1:] if a.startswith(_OWN)]
  options = dict(a.partition('=')[::2] for a in own)
  if '--topology' not in options:
    raise common.ConfigError(
      'usage: python -m experiments.preflight --config=FILE[:arg] '
      '--topology=v5p:4x4x8 [--mesh=data:64,seq:1,model:2] [--search] [--json] '
      '[--config.a=b ...]'
    )
  return options, [a for a in argv if a not in own]


@dataclasses.dataclass(frozen=True)
class Plan:
  """A step of a run on a mesh; bytes are of one chip, seconds estimated.

  Attributes:
    config: The experiment's file and argument.
    topology: Of the pod.
    mesh: Sizes of its axes.
    micro_batches: Of a step.
    parameters: That are trained.
    parameters_frozen: Beside them.
    rows: Of a batch.
    tokens: Of a batch.
    bases: Of a batch; 0 where features are read instead.
    hosts: Of the pod.
    parameter_bytes: Of what is trained.
    optimizer_bytes: Of its moments.
    frozen_bytes: Of state without gradient.
    activation_bytes: Temporary, at their peak.
    capacity_bytes: Of a chip's memory.
    operations: Floating-point, of a step on all chips, nothing twice.
    seconds: Of a step.
    utilisation: Operations over what all chips could do in that time; 0 if the
      seconds come from it.
    moved_bytes: Received, by kind of collective.
    steps: Of the run.
    method: What the figures come from.
  """

  config: str
  topology: str
  mesh: dict[str, int]
  micro_batches: int
  parameters: int
  parameters_frozen: int
  rows: int
  tokens: int
  bases: int
  hosts: int
  parameter_bytes: int
  optimizer_bytes: int
  frozen_bytes: int
  activation_bytes: int
  capacity_bytes: int
  operations: int
  seconds: float
  utilisation: float
  moved_bytes: dict[str, int]
  steps: int
  method: str

  @property
  def chips(self) -> int:
    """In all."""
    return self.mesh['data'] * self.mesh['seq'] * self.mesh['model']

  @property
  def bytes(self) -> int:
    """All that a chip holds at the peak."""
    return (
      self.parameter_bytes
      + self.optimizer_bytes
      + self.frozen_bytes
      + self.activation_bytes
    )

  @property
  def fits(self) -> bool:
    """Whether a chip has room for it."""
    return self.bytes <= self.capacity_bytes


def _plans(given: command_line.Flags, options: dict[str, str]) -> list[Plan]:
  from experiments import planner

  make = planner.Planner(given, options['--topology'])
  wanted = _mesh(options.get('--mesh'), given.config['mesh'])
  return make.search(wanted) if '--search' in options else [make.plan(wanted)]


def _mesh(text: str | None, config: dict[str, int]) -> dict[str, int]:
  if not text:
    return {'data': -1, 'seq': 1, 'model': 1, **config}
  try:
    pairs = [part.split(':') for part in text.split(',')]
    return {'data': -1, 'seq': 1, 'model': 1} | {k: int(v) for k, v in pairs}
  except ValueError as error:
    raise common.ConfigError(
      f'--mesh={text}: give it as data:64,seq:1,model:4'
    ) from error


def describe(plan: Plan) -> str:
  """Lines for people."""
  hours = plan.steps * plan.seconds / 3600
  # Hosts among which rows are split read the same ones.
  rate = plan.bases / plan.seconds / min(plan.hosts, plan.mesh['data'])
  decoded, first = (rate / bases for bases in _LOADER_BASES)
  mesh = ', '.join(f'{name} {size}' for name, size in plan.mesh.items())
  moved = ', '.join(
    f'{kind} {size / 1e6:,.1f} MB'
    for kind, size in sorted(plan.moved_bytes.items())
  )
  frozen = plan.parameters_frozen
  parts = (
    ('parameters', plan.parameter_bytes),
    ('optimizer', plan.optimizer_bytes),
    ('frozen and other state', plan.frozen_bytes),
    ('activations and batch', plan.activation_bytes),
  )
  verdict = 'fits' if plan.fits else 'DOES NOT FIT'
  lines = [
    f'{plan.config} on {plan.topology}, {plan.chips} chips ({mesh}), '
    f'{plan.micro_batches} micro-batch{"es" * (plan.micro_batches > 1)}',
    f'  {plan.parameters / 1e6:,.1f} M parameters trained'
    + (f', {frozen / 1e6:,.1f} M frozen' if frozen else '')
    + f'; a batch of {plan.rows:,} rows, {plan.tokens:,} tokens',
    f'  a chip holds {plan.bytes / 1e9:.2f} of '
    f'{plan.capacity_bytes / 1e9:.1f} GB: {verdict}',
    *(f'    {name:<24}{size / 1e9:7.2f} GB' for name, size in parts),
    f'  a step takes {plan.seconds:.3g} s, {plan.method}',
    f'  {plan.tokens / plan.seconds / plan.chips:,.0f} tokens/s a chip; '
    f'{plan.operations:.3g} operations of products, without recomputation',
  ]
  # A formula knows neither.
  if plan.utilisation:
    lines += [
      f'  utilisation {plan.utilisation:.1%}: these operations / (seconds x '
      'chips x peak)',
      f'  a chip receives, a step: {moved or "nothing"}',
    ]
  lines += [
    f'  {plan.steps:,} steps: {hours:,.2g} hours, {hours * plan.chips:,.0f} '
    'chip-hours',
  ]
  if plan.bases:
    lines.append(
      f'  each of {plan.hosts} hosts must read {rate / 1e6:,.2f} M bases/s: '
      f'{decoded:.3f} of what one core reads from memory, {first:.3f} of what '
      'it decodes (docs/benchmarks.md)'
    )
  return '\n'.join(lines)


if __name__ == '__main__':
  os.environ['JAX_PLATFORMS'] = 'cpu'
  sys.exit(main(sys.argv))
