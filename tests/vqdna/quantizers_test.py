"""The residual rule, its gradients, and codebooks over batches and devices."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from vqdna.codebook import CodebookConfig
from vqdna.quantizers import HierarchicalResidual

ROWS, LENGTH, WIDTH = 8, 16, 6
BOOKS = (
  CodebookConfig(size=8, start='data'),
  CodebookConfig(size=16, start='data'),
)
CONFIG = HierarchicalResidual(BOOKS)


def taps(seed=0):
  rng = np.random.default_rng(seed)
  shape = ROWS, LENGTH, WIDTH
  return tuple(jnp.asarray(rng.normal(size=shape), jnp.float32) for _ in '12')


def is_real():
  return jnp.ones((ROWS, LENGTH), bool).at[-1, 9:].set(False)


def started(config=CONFIG):
  """The vocabulary after a batch."""
  empty = config.init(WIDTH, jax.random.key(0))
  levels = taps()[: len(config.levels)]
  return config(
    levels, empty, is_real(), jax.random.key(1), train=True
  ).vocabulary


def quantise(levels, vocabulary, config=CONFIG, *, train=False):
  return config(levels, vocabulary, is_real(), jax.random.key(2), train=train)


def test_the_residual_rule():
  """Equations 5 and 6, written out."""
  vocabulary = started()
  coarse, fine = taps(3)
  found = quantise((coarse, fine), vocabulary)
  first, second = (np.asarray(book.codes) for book in vocabulary.levels)

  def nearest(codes, x):
    return np.square(np.asarray(x)[:, :, None] - codes).sum(-1).argmin(-1)

  ids = nearest(first, coarse)
  residual = 2 * fine - first[ids]
  fine_ids = nearest(second, residual)
  assert (found.ids[0] == ids).all() and (found.ids[1] == fine_ids).all()
  expected = (first[ids] + second[fine_ids]) / 2
  np.testing.assert_allclose(found.vectors, expected, rtol=1e-5, atol=1e-6)
  kept = np.asarray(is_real())
  commitment = sum(
    np.square(x - codes)[kept].mean()
    for x, codes in ((coarse, first[ids]), (residual, second[fine_ids]))
  )
  np.testing.assert_allclose(found.commitment, commitment, rtol=1e-5)


def test_fine_codes_that_fit_leave_the_last_layer():
  """The factor 2: the mean of both codes is then Z_2."""
  vocabulary = started()
  coarse, fine = taps(3)
  ids = quantise((coarse, fine), vocabulary).ids[0]
  book = vocabulary.levels[1]
  residual = 2 * fine[0] - vocabulary.levels[0].codes[ids[0]]
  vocabulary = vocabulary._replace(
    levels=(vocabulary.levels[0], book._replace(codes=residual))
  )
  found = quantise((coarse, fine), vocabulary)
  np.testing.assert_allclose(found.vectors[0], fine[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(('stops', 'share'), [(True, 0.5), (False, 0.0)])
def test_the_coarse_level_is_taught_only_if_its_code_is_a_constant(
  stops, share
):
  config = dataclasses.replace(CONFIG, stops_coarse_gradient=stops)
  vocabulary = started(config)
  upstream = taps(5)[0]

  def loss(levels):
    return (quantise(levels, vocabulary, config).vectors * upstream).sum()

  coarse, fine = jax.grad(loss)(taps(3))
  np.testing.assert_allclose(coarse, share * upstream, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(fine, upstream, rtol=1e-5, atol=1e-6)


def test_one_level_is_plain_vector_quantisation():
  config = HierarchicalResidual(BOOKS[:1])
  vocabulary = started(config)
  found = quantise(taps(3)[:1], vocabulary, config)
  codes = vocabulary.levels[0].codes[found.ids[0]]
  np.testing.assert_allclose(found.vectors, codes, rtol=1e-6, atol=1e-6)


def test_padding_moves_no_code():
  empty = CONFIG.init(WIDTH, jax.random.key(0))
  other = tuple(tap.at[-1, 9:].set(99.0) for tap in taps())
  for vocabulary in (empty, started()):
    one = quantise(taps(), vocabulary, train=True)
    two = quantise(other, vocabulary, train=True)
    jax.tree.map(np.testing.assert_array_equal, one.vocabulary, two.vocabulary)
    for name in one.metrics:
      assert one.metrics[name].value() == two.metrics[name].value()


def test_evaluation_leaves_the_vocabulary_alone():
  vocabulary = started()
  after = quantise(taps(3), vocabulary).vocabulary
  jax.tree.map(np.testing.assert_array_equal, vocabulary, after)


def test_codes_come_back_in_their_time_alone():
  config = dataclasses.replace(CONFIG, revive_from=2, revive_until=4)
  vocabulary = started(config)
  dead = [
    book._replace(counts=jnp.zeros_like(book.counts))
    for book in vocabulary.levels
  ]
  far = tuple(tap + 1_000 for tap in taps())
  revived = []
  for step in range(1, 6):
    now = vocabulary._replace(levels=tuple(dead), step=jnp.asarray(step))
    after = quantise(far, now, config, train=True).vocabulary
    revived.append(int((after.levels[0].codes.mean(-1) > 500).sum()))
  # A code that is followed gets there as well.
  assert min(revived[1:3]) == 8 and max(revived[0], *revived[3:]) < 8


def test_health_counts_codes():
  vocabulary = started()
  found = quantise(taps(3), vocabulary)
  kept = np.asarray(is_real())
  for number, size in ((1, 8), (2, 16)):
    ids = np.asarray(found.ids[number - 1])[kept]
    share = np.bincount(ids, minlength=size) / ids.size
    used = share[share > 0]
    health = {
      name: found.metrics[f'level{number}/{name}'].value()
      for name in ('perplexity', 'usage', 'error')
    }
    np.testing.assert_allclose(
      health['perplexity'], np.exp(-(used * np.log(used)).sum()), rtol=1e-5
    )
    np.testing.assert_allclose(health['usage'], used.size / size)
    assert 0 < health['error'] < 1


def test_eight_devices_learn_as_one():
  mesh = Mesh(np.array(jax.devices()).reshape(4, 2), ('data', 'seq'))

  @jax.jit
  def learn(levels, vocabulary, real):
    found = CONFIG(levels, vocabulary, real, jax.random.key(2), train=True)
    return found.vectors, found.ids, found.vocabulary

  alone = sharded = CONFIG.init(WIDTH, jax.random.key(0))
  spread = NamedSharding(mesh, P('data', 'seq'))
  for step in range(5):
    vectors, ids, alone = learn(taps(step), alone, is_real())
    levels = jax.device_put(taps(step), spread)
    real = jax.device_put(is_real(), spread)
    found = learn(levels, sharded, real)
    sharded = found[2]
    np.testing.assert_array_equal(ids[0], found[1][0])
    np.testing.assert_array_equal(ids[1], found[1][1])
    np.testing.assert_allclose(vectors, found[0], rtol=1e-5, atol=1e-5)
    jax.tree.map(
      lambda one, other: np.testing.assert_allclose(
        one, other, rtol=1e-5, atol=1e-5
      ),
      alone,
      sharded,
    )


def test_a_third_level_is_refused():
  with pytest.raises(ValueError, match='3 levels'):
    HierarchicalResidual((CodebookConfig(),) * 3)
