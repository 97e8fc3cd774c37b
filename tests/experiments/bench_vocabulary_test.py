"""The benchmark of stage 1: both of one size, and a table of them."""

import pytest

from experiments import bench_vocabulary


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
