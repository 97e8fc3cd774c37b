"""Spans of hidden tokens."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqdna.masking import SpanMasking


@pytest.mark.parametrize('span', [1, 7])
def test_the_share_that_is_hidden(span):
  segment_ids = jnp.ones((64, 700), int)
  is_hidden = SpanMasking(0.25, span)(segment_ids, jax.random.key(0))
  num_spans = segment_ids.size / span
  deviation = (0.25 * 0.75 / num_spans) ** 0.5
  assert abs(is_hidden.mean() - 0.25) < 4 * deviation


def test_spans_are_whole_but_at_the_ends():
  segment_ids = jnp.ones((8, 200), int)
  is_hidden = SpanMasking(0.3, 5)(segment_ids, jax.random.key(1))
  for row in np.asarray(is_hidden):
    runs = [(k, len(list(g))) for k, g in itertools.groupby(row)]
    assert all(length % 5 == 0 for _, length in runs[1:-1])


def test_every_position_is_hidden_alike_often():
  segment_ids = jnp.ones((4_000, 12), int)
  share = SpanMasking(0.3, 5)(segment_ids, jax.random.key(2)).mean(0)
  assert np.abs(share - 0.3).max() < 4 * (0.3 * 0.7 / 4_000) ** 0.5


def test_padding_is_not_hidden():
  segment_ids = jnp.asarray([[1, 1, 0, 0]])
  is_hidden = SpanMasking(1.0)(segment_ids, jax.random.key(0))
  assert is_hidden.tolist() == [[True, True, False, False]]


@pytest.mark.parametrize('wrong', [{'rate': 0.0}, {'rate': 1.5}, {'span': 0}])
def test_wrong_settings_are_refused(wrong):
  with pytest.raises(ValueError, match=r'must be in|or more'):
    SpanMasking(**wrong)
