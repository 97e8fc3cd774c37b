"""Plans of training steps on pods that are not here; see `preflight`."""

import dataclasses
import functools
import math
import sys
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh
from tqdm import tqdm

from backbone import sharding
from backbone.kernels import estimate
from backbone.train import state, utilisation
from experiments import command_line, common, planned
from experiments.preflight import Plan

_MODEL_SIZES = (1, 2, 4)
# What a run is taken to reach of a GPU's peak; of its memory, what
# experiments/launch/slurm.sh gives to JAX; and its published peaks (NVIDIA H100
# SXM data sheet: dense bf16, HBM3).
_GPU_SHARE, _GPU_MEMORY_SHARE = 0.4, 0.92
_GPUS = {'h100': (utilisation.PEAKS['NVIDIA H100 80GB HBM3'], 80_000_000_000)}
# Chips that one host of a TPU pod feeds.
_CHIPS_PER_HOST = 4


class Planner:
  """Of one run and one pod."""

  def __init__(self, given: command_line.Flags, topology: str):
    """Builds the run's objective; reads no data and no weights.

    Raises:
      common.ConfigError: The run cannot be planned.
      ValueError: Nothing is known of that topology.
    """
    config = given.config
    self._file, self._topology, self._config = given.file, topology, config
    self._shapes = planned.batch(config)
    arg = given.file.partition(':')[2]
    self._objective = planned.objective(config, arg)
    optimizer = common.build(config['optimizer'], 'config.optimizer')
    self._transform = optimizer.transform(config['train']['steps'])
    self._rules = common.build(
      command_line.sharding_config(config), 'config.sharding'
    )
    self._gpu = _GPUS.get(topology.partition(':')[0])
    self._compiler = None if self._gpu else estimate.Compiler(topology)

  @property
  def _num_chips(self) -> int:
    if self._compiler:
      return len(self._compiler.devices)
    return math.prod(int(n) for n in self._topology.split(':')[1].split('x'))

  @property
  def _num_hosts(self) -> int:
    if self._compiler:
      return -(-self._num_chips // _CHIPS_PER_HOST)
    return int(self._topology.split(':')[1].split('x')[0])

  def search(self, wanted: dict[str, int]) -> list[Plan]:
    """Other meshes as well, the fastest that fits first.

    Raises:
      common.ConfigError: None fits, or nothing tells them apart.
    """
    if self._gpu:
      raise common.ConfigError(
        f'--search: the formula for {self._topology} does not know meshes'
      )
    rows = self._shapes['segment_ids'].shape[0]
    meshes = [self._filled(wanted)]
    for model in (n for n in _MODEL_SIZES if self._num_chips % n == 0):
      data = math.gcd(self._num_chips // model, rows)
      seq = self._num_chips // model // data
      mesh = {'data': data, 'seq': seq, 'model': model}
      if mesh not in meshes:
        meshes.append(mesh)
    plans = []
    for mesh in tqdm(meshes, desc='compile', unit='mesh', disable=None):
      try:
        plans.append(self.plan(mesh))
      except (ValueError, NotImplementedError) as error:
        line = str(error).strip().splitlines()[0]
        print(f'{mesh}: {line}', file=sys.stderr)
    if not plans:
      raise common.ConfigError(f'no mesh of {self._topology} fits')
    return sorted(plans, key=lambda plan: (not plan.fits, plan.seconds))

  def plan(self, wanted: dict[str, int]) -> Plan:
    """On that mesh, with the fewest micro-batches that fit.

    Raises:
      common.ConfigError: It does not fit, or the mesh does not.
    """
    sizes = self._filled(wanted)
    rows = self._shapes['segment_ids'].shape[0]
    most = rows // sizes['data']
    number = self._config['train'].get('micro_batches', 1)
    found, why = None, ''
    while most % number == 0:
      try:
        found = self._with(sizes, number)
        why = f'{found.bytes / 1e9:.2f} GB a chip'
        if found.fits:
          return found
      except jax.errors.JaxRuntimeError as error:
        if 'RESOURCE_EXHAUSTED' not in str(error):
          raise
        why = str(error).strip().splitlines()[0]
      print(f'{number} micro-batches do not fit: {why}', file=sys.stderr)
      number *= 2
    if found:
      return found
    raise common.ConfigError(
      f'{self._file} does not fit {self._topology} on {sizes}: '
      f'{why or f"{most} rows a chip are not {number} micro-batches"}; try a '
      'larger model axis (--mesh), config.sharding.split_parameters=True or a '
      'larger pod'
    )

  def _filled(self, wanted: dict[str, int]) -> dict[str, int]:
    chips = self._num_chips
    known = math.prod(size for size in wanted.values() if size > 0)
    sizes = {k: n if n > 0 else chips // known for k, n in wanted.items()}
    if math.prod(sizes.values()) != chips:
      raise common.ConfigError(
        f'a mesh of {sizes} is not that of {chips} chips: change --mesh'
      )
    rows, length = self._shapes['segment_ids'].shape
    if rows % sizes['data'] or length % sizes['seq']:
      raise common.ConfigError(
        f'{rows} rows of {length} cannot be split over a mesh of {sizes}: '
        'change --mesh or config.data'
      )
    return {axis: sizes[axis] for axis in sharding.MESH_AXES}

  def _with(self, sizes: dict[str, int], number: int) -> Plan:
    return (self._by_formula if self._gpu else self._compiled)(sizes, number)

  def _compiled(self, sizes: dict[str, int], number: int) -> Plan:
    chip, mesh = self._compiler.chip, self._mesh(sizes)
    traced, held = planned.trace(
      self._objective, self._transform, mesh, self._shapes, self._rules, number
    )
    cost = self._compiler.of(traced)
    operations = self._operations()
    plan = self._plan(sizes, number, held)
    return dataclasses.replace(
      plan,
      # The batch as well: all that is no state.
      activation_bytes=cost.memory.temp_size_in_bytes
      + cost.memory.argument_size_in_bytes
      - (plan.parameter_bytes + plan.optimizer_bytes + plan.frozen_bytes),
      capacity_bytes=chip.memory,
      operations=operations,
      seconds=cost.seconds,
      utilisation=operations / (cost.seconds * plan.chips * chip.flops),
      moved_bytes=cost.moved,
      method='compiler-estimated (docs/benchmarks.md says what is left out)',
    )

  def _by_formula(self, sizes: dict[str, int], number: int) -> Plan:
    """What a backward pass keeps, and operations over a share of the peak."""
    flops, capacity = self._gpu
    plan = self._plan(sizes, number, self._state(sizes)[1])
    done = self._operations(with_recomputation=True)
    seconds = done / (plan.chips * flops * _GPU_SHARE)
    kept = sum(x.size * x.dtype.itemsize for x in self._kept())
    return dataclasses.replace(
      plan,
      activation_bytes=kept // (sizes['data'] * sizes['seq'] * number)
      + plan.parameter_bytes,
      capacity_bytes=int(_GPU_MEMORY_SHARE * capacity),
      operations=self._operations(),
      seconds=seconds,
      method=f'by formula: all operations at {_GPU_SHARE:.0%} of the peak; of '
      'activations only what the backward pass keeps, and gradients',
    )

  def _plan(self, sizes, number: int, held: state.TrainState) -> Plan:
    rows, length = self._shapes['segment_ids'].shape
    return Plan(
      config=self._file,
      topology=self._topology,
      mesh=sizes,
      micro_batches=number,
      parameters=planned.num_parameters(held.params),
      parameters_frozen=planned.num_parameters(held.aux),
      rows=rows,
      tokens=planned.tokens(self._config, self._shapes),
      bases=0 if 'prompt' in self._shapes else rows * length,
      hosts=self._num_hosts,
      parameter_bytes=planned.bytes_of(held.params),
      optimizer_bytes=planned.bytes_of(held.opt_state),
      frozen_bytes=planned.bytes_of(held.aux),
      activation_bytes=0,
      capacity_bytes=0,
      operations=0,
      seconds=0.0,
      utilisation=0.0,
      moved_bytes={},
      steps=self._config['train']['steps'],
      method='',
    )

  def _mesh(self, sizes: dict[str, int]) -> Mesh:
    devices = self._compiler.devices
    try:
      return sharding.make_mesh(**sizes, devices=devices)
    except NotImplementedError:
      # An axis that is no product of the pod's own.
      shape = tuple(sizes.values())
      axes = (AxisType.Auto,) * len(shape)
      return Mesh(
        np.array(devices).reshape(shape), tuple(sizes), axis_types=axes
      )

  @functools.cached_property
  def _started(self) -> tuple[Any, Any]:
    """The model's static half, and shapes of parameters and aux."""
    graphdef, held = self._state(dict.fromkeys(sharding.MESH_AXES, 1))
    shapes = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (held.params, held.aux)
    )
    return graphdef, shapes

  def _state(self, sizes: dict[str, int]) -> tuple[Any, state.TrainState]:
    """On no devices in particular."""
    axes = (AxisType.Auto,) * len(sizes)
    mesh = AbstractMesh(tuple(sizes.values()), tuple(sizes), axis_types=axes)
    return state.abstract_state(
      self._objective, self._transform, mesh=mesh, rules=self._rules
    )

  def _operations(self, *, with_recomputation: bool = False) -> int:
    """Of the gradient, on all devices."""
    graphdef, (params, aux) = self._started
    return utilisation.operations(
      self._objective,
      graphdef,
      params,
      aux,
      self._shapes,
      with_recomputation=with_recomputation,
    )

  def _kept(self) -> list[jax.ShapeDtypeStruct]:
    """What the backward pass reads of the forward pass, but for weights."""
    graphdef, (params, aux) = self._started

    def backward(params, aux, batch):
      loss = utilisation.loss_of(self._objective, graphdef)
      return jax.vjp(lambda p: loss(p, aux, batch), params)[1]

    kept = jax.tree.leaves(jax.eval_shape(backward, params, aux, self._shapes))
    weights = {(x.shape, x.dtype) for x in jax.tree.leaves((params, aux))}
    return [x for x in kept if (x.shape, x.dtype) not in weights]
