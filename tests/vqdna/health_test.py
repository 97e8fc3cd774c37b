"""What a vocabulary's health is, on counts that are known."""

import jax
import numpy as np

from vqdna import health, pictures

FLANK = health.FLANK


def counts_of(ids, sequence, segment_ids=None, size=4, stride=1):
  ids, sequence = np.asarray(ids), np.asarray(sequence, np.uint8)
  if segment_ids is None:
    segment_ids = np.ones_like(sequence, np.int32)
  counts = np.zeros((size, 2 * FLANK + 1, 4), np.int64)
  batch = {'sequence': sequence, 'segment_ids': np.asarray(segment_ids)}
  health.add_contexts(counts, ids, batch, stride)
  return counts


def test_a_code_that_is_the_base_tells_two_bits_of_it_and_none_of_others():
  sequence = np.random.default_rng(0).integers(0, 4, (40, 5_000))
  level = health.Level(counts_of(sequence, sequence), 0.1)
  found = health.measures(level, stride=1)
  assert found['usage'] == 1 and found['error'] == 0.1
  np.testing.assert_allclose(found['perplexity'], 4, rtol=1e-3)
  np.testing.assert_allclose(found['evenness'], 1, rtol=1e-3)
  np.testing.assert_allclose(found['base_bits'], 2, rtol=1e-3)
  assert found['context_bits'] < 1e-3


def test_a_code_of_three_bases_tells_six_bits():
  sequence = np.random.default_rng(0).integers(0, 4, (40, 9_000))
  thirds = sequence.reshape(40, -1, 3)
  ids = thirds @ [16, 4, 1]
  level = health.Level(counts_of(ids, sequence, size=64, stride=3), 0.0)
  found = health.measures(level, stride=3)
  np.testing.assert_allclose(found['base_bits'], 6, rtol=1e-2)
  assert found['context_bits'] < 0.05


def test_contexts_are_those_of_the_own_segment_without_unknown_bases():
  sequence = [[0, 1, 2, 4, 3, 3]]
  segment_ids = [[1, 1, 1, 1, 2, 0]]
  counts = counts_of(np.zeros((1, 6), int), sequence, segment_ids)
  here, behind = counts[0, FLANK], counts[0, FLANK + 1]
  assert here.tolist() == [1, 1, 1, 1]
  assert behind.tolist() == [0, 1, 1, 0]


def test_unused_codes_count_against_usage():
  ids = np.asarray([[0, 0, 1, 1]])
  found = health.measures(health.Level(counts_of(ids, ids), 0.0), 1)
  assert found['usage'] == 0.5
  np.testing.assert_allclose(found['evenness'], 0.5)


def test_pictures_of_every_level(tmp_path):
  rng = np.random.default_rng(0)
  contexts = [rng.integers(0, 9, (size, 17, 4)) for size in (6, 9)]
  # A code that never occurs, and codes of fewer directions than are drawn.
  contexts[0][0] = 0
  told = [health.information(counted) for counted in contexts]
  codes = [np.asarray(jax.random.normal(jax.random.key(0), (6, 3)))]
  codes.append(rng.normal(size=(9, 1)))
  pictures.write(contexts, told, codes, tmp_path / 'pictures')
  names = sorted(path.name for path in (tmp_path / 'pictures').iterdir())
  assert names == [
    'codes_1.png',
    'codes_2.png',
    'logos_1.png',
    'logos_2.png',
    'usage.png',
  ]
