"""The benchmark of stage 1: both of one size, and a table of them."""

import jax
import pytest

from backbone import sharding
from experiments import bench_fit, bench_step, bench_vocabulary


def test_both_implementations_are_of_one_size():
  pytest.importorskip('vector_quantize_pytorch')
  rows = bench_vocabulary.measure('smoke', num_rounds=1)
  assert [row['implementation'] for row in rows] == ['ours', 'torch']
  ours, theirs = (row['parameters'] for row in rows)
  # Torch's depthwise filters have a bias.
  assert theirs - ours == 4 * 16
  assert all(row['steps_per_second'] > 0 for row in rows)


def test_the_table_has_the_ratio():
  rows = [
    {
      'implementation': name,
      'steps_per_second': rate,
      'parameters': 10,
      'bases': 100,
    }
    for name, rate in (('ours', 3.0), ('torch', 2.0))
  ]
  first, second = bench_vocabulary.format_table(rows).splitlines()
  assert first.startswith('ours') and first.endswith('300 bases/s (1.50x)')
  assert second.endswith('(1.00x)')


def test_stage_2_can_be_costed_without_a_vocabulary():
  objective = bench_fit.masked_codes('smoke', 'smoke')
  mesh = sharding.make_mesh(devices=jax.devices()[:1])
  traced, held = bench_step.trace(objective, mesh, rows=2, length=32)
  assert traced.jaxpr is not None
  heads = held.params['heads']
  assert [head['kernel'].shape[-1] for head in heads.values()] == [16, 32]
  assert bench_step.num_parameters(held.aux['codes']) > 0
