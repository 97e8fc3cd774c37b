"""The mixture: permutations, shares of tokens, dependence on the seed."""

from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from data_pipelines import mixture
from data_pipelines.errors import InputError
from data_pipelines.records import CDS, GENOME, KINDS, PROTEIN, RNA


def make_source(kind, lengths, name='organism'):
  lengths = np.asarray(lengths, np.int64)
  return mixture.Source(
    Path(name), name, 'train', kind, np.arange(len(lengths)), lengths
  )


def make_sources():
  rng = np.random.default_rng(0)
  return [
    make_source(GENOME, np.full(300, 6144)),
    make_source(CDS, 3 * rng.integers(30, 800, 2000)),
    make_source(RNA, rng.integers(60, 9000, 500)),
    make_source(PROTEIN, 3 * rng.integers(30, 800, 700)),
  ]


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(
  size=st.integers(1, 700),
  epoch=st.integers(0, 10**6),
  seed=st.integers(0, 2**40),
)
def test_every_epoch_is_a_permutation(size, epoch, seed):
  index = epoch * size + np.arange(2 * size)
  drawn = mixture.permuted(index, size, seed, 'test')
  assert np.array_equal(np.sort(drawn[:size]), np.arange(size))
  assert np.array_equal(np.sort(drawn[size:]), np.arange(size))
  if size > 20:
    assert not np.array_equal(drawn[:size], drawn[size:])
    assert not np.array_equal(drawn[:size], np.arange(size))


def test_permutation_is_shuffled_globally():
  drawn = mixture.permuted(np.arange(10_000), 10_000, 3, 'test')
  assert abs(np.corrcoef(drawn, np.arange(10_000))[0, 1]) < 0.05
  assert np.abs(np.diff(drawn)).mean() > 2_500


@pytest.mark.parametrize(
  'weights',
  [mixture.WEIGHTS, {'genome': 0.1, 'cds': 0.1, 'rna': 0.1, 'protein': 0.7}],
)
def test_kinds_appear_with_their_share_of_the_tokens(weights):
  sources = make_sources()
  mix = mixture.make_mixture(sources, weights, row_length=6144, seed=0)
  tokens = np.zeros(len(KINDS))
  for block in range(4):
    source_of, record_of = mix.block(block)
    for i, source in enumerate(mix.sources):
      lengths = source.lengths[record_of[source_of == i]]
      tokens[source.kind] += np.minimum(lengths, 6144).sum()
  expected = [weights[kind] for kind in KINDS]
  assert np.allclose(tokens / tokens.sum(), expected, atol=0.02)


def test_a_source_is_read_once_per_epoch_across_blocks():
  sources = [make_source(CDS, np.full(7_000, 300))]
  mix = mixture.make_mixture(sources, {'cds': 1}, row_length=600, seed=1)
  read = np.concatenate([mix.block(block)[1] for block in range(4)])
  assert np.array_equal(np.sort(read[:7_000]), np.arange(7_000))
  assert np.array_equal(np.sort(read[7_000:14_000]), np.arange(7_000))


def test_the_seed_decides_the_order():
  def first_block(seed):
    mix = mixture.make_mixture(
      make_sources(), mixture.WEIGHTS, row_length=6144, seed=seed
    )
    return np.stack(mix.block(0))

  assert np.array_equal(first_block(5), first_block(5))
  assert not np.array_equal(first_block(5), first_block(6))


def test_a_tiny_source_is_never_left_out():
  sources = [
    make_source(GENOME, np.full(100_000, 6144), 'large'),
    make_source(GENOME, [30], 'tiny'),
  ]
  mix = mixture.make_mixture(sources, {'genome': 1}, row_length=6144, seed=0)
  assert sum(mix.counts) == mixture.BLOCK
  assert min(mix.counts) >= 1


@pytest.mark.parametrize('exponent', [1, 0.5, 0])
def test_shares_within_a_kind_go_with_a_power_of_the_size(exponent):
  sources = [
    make_source(GENOME, np.full(9_000, 600), 'large'),
    make_source(GENOME, np.full(2_000, 300), 'small'),
    make_source(CDS, np.full(500, 300), 'cds'),
  ]
  weights = {'genome': 0.6, 'cds': 0.4}
  mix = mixture.make_mixture(
    sources, weights, row_length=600, seed=0, size_exponent=exponent
  )
  read = np.array(mix.counts) * (600, 300, 300)
  large = 9**exponent / (9**exponent + 1)
  expected = 0.6 * large, 0.6 * (1 - large), 0.4
  assert np.allclose(read / read.sum(), expected, atol=0.01)


def test_weights_that_make_no_sense_are_named():
  with pytest.raises(InputError, match='genom='):
    mixture.check_weights({'genom': 1.0})
  with pytest.raises(InputError, match='cds=-1'):
    mixture.check_weights({'cds': -1})
  with pytest.raises(InputError, match='organism/cds'):
    mixture.make_mixture(
      [make_source(CDS, [300])], {'genome': 1.0}, row_length=600, seed=0
    )
