"""Packed rows of bases for the tests of VQDNA."""

import numpy as np

from data_pipelines import records


def make_batch(rows=8, length=36, seed=0):
  """Two segments and padding; an N in the first."""
  rng = np.random.default_rng(seed)
  sequence = rng.integers(0, 4, (rows, length)).astype(np.uint8)
  segment_ids = np.ones((rows, length), np.int32)
  segment_ids[:, length // 2 :] = 2
  segment_ids[:, -6:] = 0
  sequence[segment_ids == 0] = records.PAD
  sequence[:, 4] = records.N
  positions = np.arange(length) % (length // 2)
  return {
    'sequence': sequence,
    'segment_ids': segment_ids,
    'positions': np.tile(positions.astype(np.int32), (rows, 1)),
  }
