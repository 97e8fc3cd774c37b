"""The GPU form: what is around its kernel, by a plain scan; its lowering.

The kernel itself is interpreted where this JAX has an interpreter, compiled
where JAX has its compiler for NVIDIA, which needs no GPU, and compared with
the reference on a GPU.
"""

import functools
import importlib
import types

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental import topologies
from jax.experimental.pallas import mosaic_gpu as plgpu

from backbone.kernels import dispatch
from backbone.kernels.gated_delta import api, gpu_chunk, pallas_gpu
from backbone.kernels.gated_delta.pallas_gpu import Blocks
from tests.kernels.gated_delta import forms_test
from tests.kernels.gated_delta.forms_test import NAMES, compare, packed

DIRECTIONS = ['forward', 'reverse', 'split']
WIDTHS = [(64, 64), (128, 128), (128, 256)]
ROWS = [
  'test_closed_gate_and_strong_decay',
  'test_repeated_keys_keep_digits',
  'test_padding_gets_no_gradient',
]

# What its compiler must know of an H100.
HOPPER = """
platform_name: "CUDA"
device_description_str: "NVIDIA H100 80GB HBM3"
dnn_version_info { major: 9 minor: 8 }
gpu_device_info {
  cuda_compute_capability { major: 9 }
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  registers_per_block_limit: 65536
  registers_per_core_limit: 65536
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000
  device_memory_size: 84978434048
  l2_cache_size: 52428800
}
"""


def scan(read, write, update, whole, addend, initial, *, reverse):
  """The recurrence as `gpu_chunk.recur` has it."""
  dtype = read.dtype
  addend = jnp.zeros(()) if addend is None else addend

  def step(state, operands):
    read, write, update, whole, addend = operands
    entering = state.astype(dtype)
    written = (update + read @ entering).astype(dtype)
    state = whole[:, None, None] * state + addend
    return state + jnp.swapaxes(write, 1, 2) @ written, (entering, written)

  addend = jnp.broadcast_to(addend, (*whole.shape, *initial.shape[1:]))
  operands = read, write, update, whole, addend
  operands = [jnp.moveaxis(x, 1, 0).astype(jnp.float32) for x in operands]
  final, kept = lax.scan(step, initial, operands, reverse=reverse)
  return *(jnp.moveaxis(x, 0, 1) for x in kept), final


def use(monkeypatch, form):
  monkeypatch.setitem(api.IMPLEMENTATIONS, 'pallas_gpu', form)


@pytest.fixture
def on_gpu(monkeypatch):
  monkeypatch.setattr(dispatch, 'platform', lambda: 'gpu')


@pytest.fixture
def by_scan(monkeypatch, on_gpu):
  form = functools.partial(gpu_chunk.gated_delta, block_length=64, run=scan)
  use(monkeypatch, form)


def make_inputs(length, keys=64, values=128, dtype=jnp.bfloat16, **options):
  """With decays that leave much of a state behind a chunk."""
  options |= {'keys': keys, 'values': values, 'dtype': dtype}
  inputs = forms_test.make_inputs(length, **options)
  return inputs | {'log_decay': inputs['log_decay'] / 64}


def run(inputs, **options):
  return pallas_gpu.gated_delta(
    *(inputs[n] for n in NAMES[:-1]),
    jnp.zeros(inputs['beta'].shape[:2], jnp.int32),
    inputs['initial_state'],
    **{'direction': 'forward'} | options,
  )


@pytest.mark.parametrize('length', [1, 63, 64, 200])
def test_around_the_kernel(by_scan, length):
  compare(make_inputs(length, 16, 24, jnp.float32), 'pallas_gpu')


@pytest.mark.parametrize(
  ('direction', 'dtype'),
  [
    ('forward', jnp.float32),
    ('reverse', jnp.float32),
    ('split', jnp.float32),
    ('split', jnp.bfloat16),
  ],
)
def test_packed_around_the_kernel(by_scan, direction, dtype):
  options = {'segment_ids': packed(147), 'direction': direction}
  inputs = make_inputs(147, 16, 24, dtype, heads=4)
  compare(inputs, 'pallas_gpu', **options)


@pytest.mark.parametrize('row', ROWS)
def test_rows_of_every_form_around_the_kernel(by_scan, row):
  getattr(forms_test.TestImplementation(), row)('pallas_gpu')


def count_kernels(function, inputs):
  traced = jax.jit(function).trace(inputs)
  text = traced.lower(lowering_platforms=('cuda',)).as_text()
  return text.count('custom_call @mosaic_gpu')


@pytest.mark.parametrize('direction', DIRECTIONS)
@pytest.mark.parametrize('widths', WIDTHS)
def test_lowers_for_cuda(on_gpu, widths, direction):
  def total(inputs):
    return jnp.sum(run(inputs, direction=direction)[0])

  inputs = make_inputs(150, *widths)
  assert count_kernels(total, inputs) == 1
  assert count_kernels(jax.grad(total), inputs) == 2


@pytest.mark.parametrize('blocks', [Blocks(128, 64), Blocks(64, 128)])
def test_other_blocks_lower_for_cuda(on_gpu, blocks):
  gradient = jax.grad(lambda inputs: jnp.sum(run(inputs, blocks=blocks)[0]))
  assert count_kernels(gradient, make_inputs(150)) == 2


@pytest.fixture
def hopper():
  """Where an H100 would hold all of an array."""
  try:
    topology = topologies.get_topology_desc(
      platform='cuda',
      topology_name='h100',
      target_config=HOPPER,
      topology='1x1x1',
    )
  except (RuntimeError, NotImplementedError) as error:
    pytest.skip(f'JAX without its compiler for GPU: {error}')
  # What is compiled for a GPU cannot be read back from a cache without one.
  jax.config.update('jax_enable_compilation_cache', False)
  mesh = topologies.make_mesh(topology, (1,), ('all',))
  yield jax.NamedSharding(mesh, jax.P())
  jax.config.update('jax_enable_compilation_cache', True)


@pytest.mark.parametrize('widths', WIDTHS)
def test_compiles_for_hopper(on_gpu, hopper, widths):
  gradient = jax.grad(lambda inputs: jnp.sum(run(inputs)[0]))
  inputs = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=hopper),
    make_inputs(150, *widths),
  )
  text = jax.jit(gradient).lower(inputs).compile().as_text()
  assert text.count('custom_call_target="mosaic_gpu') == 2


@pytest.fixture
def interpreted(monkeypatch, on_gpu):
  """The kernel as numpy, threads and copies included."""
  # Not public yet.
  name = 'jax._src.pallas.mosaic_gpu.interpret'
  try:
    params = importlib.import_module(f'{name}.params')
    interpreter = importlib.import_module(f'{name}.gpu_callbacks')
  except ImportError:
    pytest.skip('this JAX interprets no GPU kernels')
  interpret = params.InterpretGPUParams(detect_races=True)
  kernel = functools.partial(plgpu.kernel, interpret=interpret)
  monkeypatch.setattr(plgpu, 'kernel', kernel)
  # It knows no transposed operands.
  multiply = plgpu.wgmma

  def copied(total, x, y):
    if not callable(x):
      return multiply(total, x, y)

    def transposed(buffer):
      buffer[...] = x()
      plgpu.commit_smem()
      multiply(total, buffer, y)

    return pl.run_scoped(transposed, plgpu.SMEM(x.shape, y.dtype))

  monkeypatch.setattr(plgpu, 'wgmma', copied)
  monkeypatch.setattr(plgpu, 'transpose_ref', _Transposed)
  use(monkeypatch, pallas_gpu.gated_delta)
  return interpreter


class _Transposed:
  """A buffer that is read transposed."""

  def __init__(self, buffer, axes):
    assert axes == (1, 0)
    self.buffer, self.shape = buffer, buffer.shape[::-1]

  def __call__(self):
    return self.buffer[...].T


def test_interpreted(interpreted):
  # States pass whole chunks in one row, and are cut off in the other.
  segment_ids = packed(150).at[0].set(1)
  options = {'segment_ids': segment_ids, 'direction': 'split'}
  compare(make_inputs(150), 'pallas_gpu', **options)
  assert not interpreted.get_races().races_found


def test_other_platforms_raise():
  with pytest.raises(NotImplementedError, match='does not run on cpu'):
    run(make_inputs(8))


def test_float32_raises(on_gpu):
  with pytest.raises(NotImplementedError, match='float32'):
    run(make_inputs(8, dtype=jnp.float32))


@pytest.mark.parametrize('widths', [(32, 64), (192, 64), (64, 96)])
def test_other_widths_raise(on_gpu, widths):
  with pytest.raises(NotImplementedError, match=f'not {widths[0]} and'):
    run(make_inputs(8, *widths))


def test_other_devices_raise(on_gpu, monkeypatch):
  device = types.SimpleNamespace(platform='gpu', compute_capability='10.0')
  monkeypatch.setattr(jax, 'local_devices', lambda: [device])
  with pytest.raises(NotImplementedError, match='Hopper'):
    run(make_inputs(8))


@pytest.mark.parametrize('sizes', [(32, 64), (96, 64), (64, 32), (64, 0)])
def test_misfit_blocks_raise(sizes):
  with pytest.raises(ValueError, match='no '):
    Blocks(*sizes)


@pytest.mark.gpu
@pytest.mark.skipif(jax.default_backend() != 'gpu', reason='needs a GPU')
@pytest.mark.parametrize('direction', DIRECTIONS)
@pytest.mark.parametrize('widths', WIDTHS)
@pytest.mark.parametrize('length', [1, 64, 700])
def test_equals_reference(monkeypatch, length, widths, direction):
  use(monkeypatch, pallas_gpu.gated_delta)
  options = {'segment_ids': packed(length), 'direction': direction}
  compare(make_inputs(length, *widths), 'pallas_gpu', **options)
