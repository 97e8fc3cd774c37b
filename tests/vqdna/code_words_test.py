"""Words that a code stands at, counted one by one."""

import csv

import numpy as np
import pytest

from vqdna import code_words


def naive(ids, sequence, segment_ids, size, stride):
  counts = np.zeros((size, code_words.NUM_WORDS), np.int64)
  for row in range(len(ids)):
    for token, code in enumerate(ids[row]):
      at = slice(token * stride - 2, token * stride + 3)
      if at.start < 0 or at.stop > sequence.shape[1]:
        continue
      bases, segments = sequence[row, at], segment_ids[row, at]
      if bases.max() > 3 or len(set(segments)) > 1 or not segments[0]:
        continue
      word = int(''.join(map(str, bases)), 4)
      counts[code, word] += 1
  return counts


@pytest.mark.parametrize('stride', [1, 3])
def test_words_equal_those_counted_one_by_one(stride):
  rng = np.random.default_rng(0)
  sequence = rng.choice(5, (4, 60), p=[0.24] * 4 + [0.04]).astype(np.uint8)
  segment_ids = np.sort(rng.integers(0, 3, (4, 60)), axis=1)[:, ::-1]
  ids = rng.integers(0, 3, (4, 60 // stride)).astype(np.int32)
  batch = {'sequence': sequence, 'segment_ids': segment_ids}
  counts = np.zeros((3, code_words.NUM_WORDS), np.int64)
  code_words.add_words(counts, ids, batch, stride)
  expected = naive(ids, sequence, segment_ids, 3, stride)
  assert expected.sum() > 20
  np.testing.assert_array_equal(counts, expected)


def test_a_line_names_the_commonest_words_of_a_code(tmp_path):
  counts = np.zeros((2, code_words.NUM_WORDS), np.int64)
  counts[1, int('01230', 4)] = 3
  counts[1, int('33333', 4)] = 1
  path = tmp_path / 'words.tsv'
  code_words.write(counts, path)
  with path.open() as file:
    unused, used = csv.DictReader(file, delimiter='\t')
  assert unused['occurrences'] == '0' and not unused['word_1']
  assert (used['word_1'], used['share_1']) == ('ACGTA', '0.750')
  assert (used['word_2'], used['share_2']) == ('TTTTT', '0.250')
  assert not used['word_3']
