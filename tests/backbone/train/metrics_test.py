"""Throughput, and where the time goes."""

import time

import numpy as np
import pytest

from backbone.train.metrics import TIMINGS, Throughput


def test_time_is_told_apart(monkeypatch):
  now = [100.0]
  monkeypatch.setattr(time, 'monotonic', lambda: now[0])
  throughput = Throughput(bases_per_token=3, readers=2, chips=4)

  def spend(seconds):
    now[0] += seconds

  with throughput.paused():
    spend(5)
  with throughput.loading():
    spend(1)
  segment_ids = np.ones((2, 30))
  segment_ids[0, 15:] = 0
  throughput.count({'segment_ids': segment_ids})
  spend(4)
  found = throughput.read()
  # 45 bases here and as many elsewhere, in 5 s of training out of 10.
  assert found == pytest.approx(
    {
      'step_seconds': 5,
      'tokens_per_second': 6,
      'tokens_per_second_per_chip': 1.5,
      'bases_per_second': 18,
      'loader_stall': 0.2,
      'goodput': 0.4,
    }
  )
  # The loop knows the peak of its devices, if any.
  assert found.keys() | {'utilisation'} == set(TIMINGS)
  spend(2)
  assert throughput.read()['goodput'] == 1
