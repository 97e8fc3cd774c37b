"""What only the splash form has: blocks, lazy masks, and a TPU compiler."""

import functools
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tracemalloc

import jax
import jax.numpy as jnp
import pytest

from backbone.kernels import dispatch
from backbone.kernels.attention import api, pallas_tpu
from backbone.kernels.attention.pallas_tpu import Blocks
from tests.kernels.attention.forms_test import NAMES, compare, make_inputs
from tests.kernels.gated_delta.forms_test import packed


@pytest.fixture
def run_with(monkeypatch):
  """Makes options of the form those of `implementation='pallas_tpu'`."""

  def replace(**options):
    form = functools.partial(pallas_tpu.attention, **options)
    monkeypatch.setitem(api.IMPLEMENTATIONS, 'pallas_tpu', form)

  return replace


@pytest.mark.parametrize('window', [None, 1, 128, 129])
@pytest.mark.parametrize(
  'blocks', [Blocks(128, 128), Blocks(128, 384), Blocks(256, 256, True)]
)
def test_any_blocks(run_with, blocks, window):
  run_with(blocks=blocks)
  options = {'segment_ids': packed(900), 'window': window}
  compare(make_inputs(900), 'pallas_tpu', **options)


@pytest.mark.parametrize('window', [None, 1, 300, 5_000])
@pytest.mark.parametrize('length', [1, 128, 513, 1_100, 4_096, 131_072])
def test_default_blocks_waste_little(length, window):
  blocks = Blocks.by_default(length, window)
  num_blocks = -(-length // blocks.queries)
  assert num_blocks * blocks.queries - length < 128 * num_blocks
  assert num_blocks * blocks.queries % blocks.keys == 0
  assert blocks.queries <= 512
  assert blocks.is_backward_fused == (blocks.keys >= length)


@pytest.mark.parametrize('sizes', [(100, 200), (0, 128), (256, 128)])
def test_misfit_blocks_raise(sizes):
  with pytest.raises(ValueError, match='multiple'):
    Blocks(*sizes)


def test_kernels_of_the_jaxpr():
  def text(implementation):
    def total(inputs):
      arguments = [inputs[n] for n in NAMES]
      return jnp.sum(api.attention(*arguments, implementation=implementation))

    return str(jax.make_jaxpr(jax.grad(total))(make_inputs(2_048)))

  for phase in ('fwd', 'dkv', 'dq'):
    assert f'splash_mha_{phase}_segmented' in text('pallas_tpu')
  assert 'pallas_call' not in text('xla')


@pytest.mark.parametrize('window', [None, 512])
def test_masks_of_long_sequences_are_lazy(window):
  length = 32_768
  shape = jax.ShapeDtypeStruct((1, length, 1, 64), jnp.float32)
  run = functools.partial(
    api.attention, window=window, implementation='pallas_tpu'
  )
  tracemalloc.start()
  jax.eval_shape(run, shape, shape, shape)
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert peak < length**2 / 16


def test_other_platforms_raise(monkeypatch):
  monkeypatch.setattr(dispatch, 'platform', lambda: 'gpu')
  arguments = [make_inputs(8)[n] for n in NAMES]
  with pytest.raises(NotImplementedError, match='gpu'):
    api.attention(*arguments, implementation='pallas_tpu')


@pytest.mark.skipif(
  importlib.util.find_spec('libtpu') is None, reason='needs libtpu'
)
@pytest.mark.parametrize('topology', ['v5e:2x2', 'v5p:2x2x1', 'v6e:2x2'])
def test_compiles_for(topology):
  """By Mosaic and XLA, with None taking the kernel on a TPU's mesh."""
  root = pathlib.Path(__file__).parents[3]
  environment = os.environ | {
    'JAX_PLATFORMS': 'cpu',
    'TPU_WORKER_HOSTNAMES': 'localhost',
    # Else a second process that loads libtpu is turned away.
    'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
    'PYTHONPATH': str(root),
  }
  # What is compiled for a TPU cannot be read back from a cache without one.
  environment.pop('JAX_COMPILATION_CACHE_DIR', None)
  script = root / 'tests/kernels/attention/compile_for_tpu.py'
  result = subprocess.run(
    [sys.executable, script, topology],
    env=environment,
    capture_output=True,
    text=True,
  )
  assert result.returncode == 0, result.stderr[-3_000:]
  counts = json.loads(result.stdout.splitlines()[-1])
  assert {name: c['"tpu_custom_call"'] for name, c in counts.items()} == {
    'short, bfloat16': 2,
    'window, uneven widths': 3,
    'long, float32, wide': 3,
    'longest, bfloat16': 3,
    'split, by heads': 3,
    'split, by neighbours': 3,
    'split, ring': 0,
  }
  # That of segment ids.
  counts.pop('split, by heads')
  for name, count in counts.items():
    assert count['all-gather'] == count['all-reduce'] == 0, name
