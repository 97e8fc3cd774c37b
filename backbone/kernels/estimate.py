"""What a program would cost on a TPU that is not here, by its own compiler.

The TPU compiler runs without a TPU. Its schedule names the cycles of every XLA
instruction, and a listing of the bundles (about one a cycle) of every Pallas
kernel. Summed over trip counts these make a static estimate that repeats to the
digit. It leaves out waiting for memory inside a kernel, for which the bytes
moved over the bandwidth stand as a lower bound, and between devices.
"""

import collections
import dataclasses
import math
import os
import pathlib
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence

import jax
from jax.experimental import topologies
from jax.experimental.layout import Format, Layout
from jax.experimental.pallas import tpu as pltpu
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

# Hz. v5e and v5p: peak bf16 rate over the multiply-adds of their matrix units,
# x 2; v6e has no public figure, its units are taken to run at that of v5p.
_CLOCK = {'v5e': 1.5e9, 'v5p': 1.75e9, 'v6e': 1.75e9}
_CORES = {'v5e': 1, 'v5p': 2, 'v6e': 1}

# An instruction for which the compiler has no figure carries this much more.
_UNKNOWN = 2**60

_COMPUTATION = re.compile(r'(ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{')
_WHILE = re.compile(r' while\(.*condition=%?([\w.\-]+), body=%?([\w.\-]+)')
_KERNEL = re.compile(r'%?([\w.\-]+) = .*custom_call_target="tpu_custom_call"')

# An asynchronous collective has its result where it is done.
_COLLECTIVE = re.compile(
  r'= (.+?) (all-gather|all-reduce|all-to-all|collective-permute|'
  r'reduce-scatter)(?:-done)?\('
)
_ARRAY = re.compile(r'(\w+)\[([\d,]*)\]')
_BYTES = {'f64': 8, 's64': 8, 'f32': 4, 's32': 4, 'u32': 4, 'bf16': 2}


@dataclasses.dataclass(frozen=True)
class Chip:
  """Published peaks of one chip.

  Attributes:
    name: As topologies have it: 'v5e', 'v5p', 'v6e'.
    clock: Hz.
    cores: That share the parallel steps of a kernel's grid.
    flops: A second, bf16.
    bandwidth: Of HBM, bytes a second.
    memory: HBM, bytes.
  """

  name: str
  clock: float
  cores: int
  flops: float
  bandwidth: float
  memory: int

  def floor(self, flops: float, num_bytes: float) -> float:
    """Seconds below which arithmetic or memory traffic cannot go."""
    return max(flops / self.flops, num_bytes / self.bandwidth)


@dataclasses.dataclass(frozen=True)
class Kernel:
  """One call of a Pallas kernel.

  Attributes:
    name: Of the HLO instruction.
    calls: Of the instruction, by the loops around it.
    steps: Of its grid.
    bundles: In its listing: those of one step, and a few around the loop.
    spills: Registers stored for want of registers, in one step.
    vmem_bytes: Of its blocks, double-buffered.
    hbm_bytes: Of its operands and results.
    seconds: Of all calls.
  """

  name: str
  calls: int
  steps: int
  bundles: int
  spills: int
  vmem_bytes: int
  hbm_bytes: int
  seconds: float


@dataclasses.dataclass(frozen=True)
class Estimate:
  """Compiler-estimated cost of one run of a program, on each chip.

  Attributes:
    seconds: Of XLA's instructions and of kernels.
    hbm_bytes: Read and written.
    moved: Bytes received from other chips, by kind of collective.
    kernels: Calls of Pallas kernels.
    memory: JAX's `memory_analysis()`.
  """

  seconds: float
  hbm_bytes: float
  moved: dict[str, int]
  kernels: tuple[Kernel, ...]
  memory: object


def chip(topology: str) -> Chip:
  """The chip of a topology such as 'v5e:2x2'.

  Raises:
    ValueError: No figures for it here.
  """
  name = topology.split(':')[0]
  if name not in _CLOCK:
    raise ValueError(
      f'no clock known for {name!r}: choose from {", ".join(_CLOCK)}'
    )
  info = pltpu.get_tpu_info_for_chip(pltpu.ChipVersion(name), 1)
  cores = _CORES[name]
  return Chip(
    name,
    _CLOCK[name],
    cores,
    float(cores * info.bf16_ops_per_second),
    float(cores * info.mem_bw_bytes_per_second),
    cores * info.hbm_capacity_bytes,
  )


class Compiler:
  """Compiles for a topology and reads what the compiler says.

  libtpu reads its flags once, when it is loaded, so make this before anything
  else asks for a TPU topology in the process.
  """

  def __init__(self, topology: str):
    self.topology = topology
    self.chip = chip(topology)
    self._folder = tempfile.TemporaryDirectory(prefix='tpu-listing-')
    path = self._folder.name
    os.environ.setdefault('TPU_WORKER_HOSTNAMES', 'localhost')
    os.environ.setdefault('ALLOW_MULTIPLE_LIBTPU_LOAD', '1')
    os.environ['LIBTPU_INIT_ARGS'] = (
      f'--xla_jf_dump_to={path} --xla_jf_dump_llo_text=true '
      '--xla_jf_dump_llo_pass_label_regex=.*final.*'
    )
    described = topologies.get_topology_desc(
      platform='tpu', topology_name=topology
    )
    self.devices = described.devices

  def on_one_chip(self, function: Callable, arguments: Sequence) -> Estimate:
    """Cost of `function(*arguments)`, shapes given, layouts of its choice."""
    mesh = Mesh([self.devices[0]], ('one',))
    free = Format(Layout.AUTO, NamedSharding(mesh, P()))
    with jax.set_mesh(mesh):
      jitted = jax.jit(function, in_shardings=free, out_shardings=free)
      return self.of(jitted.trace(*arguments))

  def of(self, traced) -> Estimate:
    """Cost of a traced program; compiles it."""
    before = set(pathlib.Path(self._folder.name).iterdir())
    compiled = traced.lower().compile()
    listings = set(pathlib.Path(self._folder.name).iterdir()) - before
    calls = list(_pallas_calls(traced.jaxpr.jaxpr))
    text = compiled.as_text()
    bodies, entry = _computations(text)
    cycles, kernels, moved = 0, [], collections.Counter()
    for name, trips in _reached(bodies, entry, 1):
      cycles += trips * sum(_cycles(bodies[name]))
      for kind, size in collectives(bodies[name]).items():
        moved[kind] += trips * size
      kernels += [
        self._kernel(instruction, trips, calls, listings)
        for instruction in _KERNEL.findall(bodies[name])
      ]
    for path in listings:
      path.unlink()
    seconds = cycles / self.chip.clock + sum(k.seconds for k in kernels)
    return Estimate(
      seconds,
      compiled.cost_analysis()['bytes accessed'],
      dict(moved),
      tuple(kernels),
      compiled.memory_analysis(),
    )

  def _kernel(self, instruction: str, trips: int, calls, listings) -> Kernel:
    parameters = next(p for p in calls if p['name'] in instruction)
    mapping = parameters['grid_mapping']
    steps = 1
    for size in mapping.grid:
      steps *= size
    usage = _listing(listings, instruction, 'static-per-bundle-utilization')
    rows = [line.split() for line in usage.splitlines()[4:] if line.strip()]
    columns = [name.strip() for name in usage.splitlines()[1].split(',')]
    spill = columns.index('VSTORE:SPILL')
    blocks = [_size(m.block_aval.inner_aval) for m in mapping.block_mappings]
    cost = parameters['cost_estimate']
    hbm_bytes = cost.bytes_accessed if cost else 0
    seconds = max(
      len(rows) * steps / self.chip.cores / self.chip.clock,
      hbm_bytes / self.chip.bandwidth,
    )
    return Kernel(
      instruction,
      trips,
      steps,
      len(rows),
      sum(int(row[spill]) for row in rows),
      2 * sum(blocks),
      hbm_bytes,
      trips * seconds,
    )


def collectives(text: str) -> dict[str, int]:
  """Bytes of the results of each kind of collective in HLO text, each once."""
  total = collections.Counter()
  for result, kind in _COLLECTIVE.findall(text):
    for dtype, shape in _ARRAY.findall(result):
      size = math.prod(int(n) for n in shape.split(',') if n)
      total[kind] += size * _BYTES.get(dtype, 1)
  return dict(total)


def _computations(text: str) -> tuple[dict[str, str], str]:
  """The text of every computation of a program, and the entry's name."""
  lines, entry = {}, ''
  current = []
  for line in text.splitlines():
    if header := _COMPUTATION.fullmatch(line):
      current = lines.setdefault(header[2], [])
      entry = header[2] if header[1] else entry
    current.append(line)
  return {name: '\n'.join(body) for name, body in lines.items()}, entry


def _size(aval) -> int:
  return aval.size * aval.dtype.itemsize


def _cycles(body: str) -> Iterator[int]:
  for cycles in re.findall(r'"estimated_cycles":"(\d+)"', body):
    yield int(cycles) % _UNKNOWN


def _reached(
  bodies: dict[str, str], name: str, trips: int
) -> Iterator[tuple[str, int]]:
  """Computations with instructions of their own, and how often each runs."""
  yield name, trips
  for condition, body in _WHILE.findall(bodies[name]):
    # Loops count up to the one constant of their condition.
    bounds = re.findall(r'constant\((\d+)\)', bodies[condition])
    times = max((int(bound) for bound in bounds), default=1)
    yield from _reached(bodies, body, trips * times)


def _pallas_calls(jaxpr) -> Iterator[dict]:
  for equation in jaxpr.eqns:
    if equation.primitive.name == 'pallas_call':
      parameters = dict(equation.params)
      parameters['name'] = parameters['name'] or 'kernel'
      yield parameters
    for value in equation.params.values():
      for inner in value if isinstance(value, tuple | list) else (value,):
        inner = getattr(inner, 'jaxpr', inner)
        if hasattr(inner, 'eqns'):
          yield from _pallas_calls(inner)


def _listing(paths, instruction: str, kind: str) -> str:
  # Equal kernels are compiled once, and listed under one of their names.
  name = re.escape(re.sub(r'\.\d+$', '', instruction))
  pattern = re.compile(rf'\d+-{name}(\.\d+)?-\d+-final.*{kind}')
  found = [p for p in paths if pattern.fullmatch(p.stem)]
  exact = [p for p in found if f'-{instruction}-' in p.name]
  return max(exact or found).read_text()
