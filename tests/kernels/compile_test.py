"""The TPU kernels compile for real, inside a sharded training step."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.skipif(
  importlib.util.find_spec('libtpu') is None,
  reason="libtpu is missing: pip install -e '.[tpu]'",
)
@pytest.mark.parametrize('topology', ['v5e:2x2', 'v5p:2x2x1', 'v6e:2x2'])
def test_sharded_training_step(topology):
  script = pathlib.Path(__file__).with_name('compile_step_for_tpu.py')
  environment = {
    'JAX_PLATFORMS': 'cpu',
    'TPU_WORKER_HOSTNAMES': 'localhost',
    'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
    'PYTHONPATH': str(ROOT),
  }
  ran = subprocess.run(
    [sys.executable, str(script), topology],
    env={**os.environ, **environment},
    capture_output=True,
    text=True,
  )
  assert ran.returncode == 0, ran.stderr[-3_000:]
  counts = json.loads(ran.stdout.splitlines()[-1])
  assert len(counts) == 2
  for mesh, kernels in counts.items():
    # Even heads forward, odd heads in reverse: a call for each; the forward
    # pass is computed again in the backward pass.
    assert kernels['gated_delta_forward'] == 4, mesh
    assert kernels['gated_delta_backward'] == 2, mesh
    assert kernels['splash'] >= 3, mesh
