"""Markov bits against a naive loop, and against entropy."""

import collections
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backbone.downstream.markov import MarkovModel

SMOOTHING = 4.0


def _probability(counts, context, base):
  if context is None:
    return 0.25
  shorter = context[1:] if context else None
  lean = SMOOTHING * _probability(counts, shorter, base)
  seen = sum(counts[context, other] for other in range(4))
  return (counts[context, base] + lean) / (seen + SMOOTHING)


def _naive(train, sequence, segment_ids, order):
  counts = collections.Counter()
  for record in train:
    for at in range(len(record)):
      for k in range(order + 1):
        gram = tuple(record[at - k : at + 1].tolist()) if at >= k else (4,)
        if max(gram) < 4:
          counts[gram[:-1], gram[-1]] += 1
  bits = []
  for at, base in enumerate(sequence.tolist()):
    if base > 3:
      bits.append(math.nan)
      continue
    start = at
    while (
      at - start < order
      and start > 0
      and sequence[start - 1] < 4
      and segment_ids[start - 1] == segment_ids[at]
    ):
      start -= 1
    context = tuple(sequence[start:at].tolist())
    bits.append(-math.log2(_probability(counts, context, base)))
  return np.array(bits)


bases = st.lists(st.integers(0, 4), max_size=40)


@settings(max_examples=40, deadline=None)
@given(st.lists(bases, max_size=4), st.lists(bases, min_size=1, max_size=3))
@pytest.mark.parametrize('order', [0, 1, 3])
def test_bits_equal_a_naive_loop(order, train, segments):
  train = [np.array(record, np.uint8) for record in train]
  sequence = np.array([b for s in segments for b in s], np.uint8)
  lengths = [len(s) for s in segments]
  ids = np.repeat(np.arange(1, len(segments) + 1, dtype=np.int32), lengths)
  model = MarkovModel.fit(train, order, smoothing=SMOOTHING)
  expected = _naive(train, sequence, ids, order)
  np.testing.assert_allclose(model.bits(sequence, ids), expected, rtol=1e-5)


def test_order_0_on_its_own_training_bases_is_their_entropy():
  rng = np.random.default_rng(0)
  share = np.array([0.4, 0.1, 0.2, 0.3])
  sequence = rng.choice(4, 200_000, p=share).astype(np.uint8)
  model = MarkovModel.fit([sequence], 0)
  seen = np.bincount(sequence) / sequence.size
  bits = model.bits(sequence, np.ones(sequence.size, np.int32))
  assert bits.mean() == pytest.approx(-(seen * np.log2(seen)).sum(), abs=1e-4)


def test_rows_are_scored_apart_and_training_order_is_irrelevant():
  rng = np.random.default_rng(1)
  rows = rng.integers(0, 4, (3, 60)).astype(np.uint8)
  ids = np.ones((3, 60), np.int32)
  model = MarkovModel.fit(rows, 2)
  other = MarkovModel.fit(rows[::-1], 2)
  together = model.bits(rows, ids)
  for row, bits in zip(rows, together, strict=True):
    np.testing.assert_array_equal(bits, other.bits(row, ids[0]))


def test_finds_the_order_of_a_chain():
  rng = np.random.default_rng(2)
  sequence = np.tile(rng.integers(0, 4, 50), 200).astype(np.uint8)
  ids = np.ones(sequence.size, np.int32)
  bits = [MarkovModel.fit([sequence], k).bits(sequence, ids).mean()
          for k in (0, 2, 5)]  # fmt: skip
  assert bits[0] > bits[1] > bits[2]
  assert bits[2] < 0.1
