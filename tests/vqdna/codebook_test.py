"""Codebooks: how they start, follow, and come back to life."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqdna import codebook as codebooks
from vqdna import gradients
from vqdna.codebook import Codebook, CodebookConfig

ROWS, LENGTH, WIDTH = 4, 30, 6
CONFIG = CodebookConfig(size=16, revive_share=0.0)


def vectors(seed=0, scale=1.0):
  rng = np.random.default_rng(seed)
  return jnp.asarray(
    scale * rng.normal(size=(ROWS, LENGTH, WIDTH)), jnp.float32
  )


def everywhere():
  return jnp.ones((ROWS, LENGTH), bool)


def test_the_nearest_code_is_that_of_least_distance():
  book = codebooks.initial(CONFIG, WIDTH, jax.random.key(0))
  x = vectors()
  distance = np.square(
    np.asarray(x, np.float64)[:, :, None] - np.asarray(book.codes, np.float64)
  ).sum(-1)
  assert (codebooks.nearest(book.codes, x) == distance.argmin(-1)).all()


def test_a_code_becomes_the_mean_of_its_vectors():
  """A decay of zero forgets all but the batch."""
  config = dataclasses.replace(CONFIG, decay=0.0, epsilon=1e-9)
  book = codebooks.initial(config, WIDTH, jax.random.key(0))
  x, ids = vectors(), np.arange(ROWS * LENGTH).reshape(ROWS, LENGTH) % 16
  is_real = np.arange(LENGTH) < 21
  is_real = jnp.asarray(np.broadcast_to(is_real, ids.shape))
  after = codebooks.follow(config, book, x, jnp.asarray(ids), is_real)
  for code in range(16):
    chosen = np.asarray((ids == code) & is_real)
    np.testing.assert_allclose(after.counts[code], chosen.sum(), rtol=1e-6)
    np.testing.assert_allclose(
      after.codes[code], np.asarray(x)[chosen].mean(0), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize('start', ['data', 'kmeans'])
def test_a_codebook_starts_on_the_data(start):
  config = dataclasses.replace(CONFIG, start=start)
  book = codebooks.initial(config, WIDTH, jax.random.key(0))
  x = vectors(scale=50.0)
  is_real = everywhere().at[:, 20:].set(False)
  after = codebooks.start(config, book, x, is_real, jax.random.key(1))
  kept = np.asarray(x)[np.asarray(is_real)]

  def error(codes):
    distance = np.square(kept[:, None] - np.asarray(codes)).sum(-1)
    return distance.min(-1).mean() / np.square(kept).sum(-1).mean()

  assert error(after.codes) < 0.6 < error(book.codes)
  if start == 'data':
    assert all((kept == code).all(-1).any() for code in np.asarray(after.codes))
  else:
    drawn = dataclasses.replace(config, start='data')
    before = codebooks.start(drawn, book, x, is_real, jax.random.key(1))
    assert error(after.codes) < error(before.codes)
    np.testing.assert_allclose(
      after.sums, after.codes * after.counts[:, None], rtol=1e-6
    )


@pytest.mark.parametrize('start', ['data', 'kmeans'])
def test_a_small_first_batch_is_used_again(start):
  config = dataclasses.replace(CONFIG, size=200, start=start)
  book = codebooks.initial(config, WIDTH, jax.random.key(0))
  x = vectors()
  is_real = everywhere().at[1:].set(False)
  after = codebooks.start(config, book, x, is_real, jax.random.key(1))
  kept = np.asarray(x)[0]
  assert all((kept == code).all(-1).any() for code in np.asarray(after.codes))
  assert len(np.unique(np.asarray(after.codes), axis=0)) == LENGTH


def test_dead_codes_come_back_on_vectors_of_their_own():
  config = dataclasses.replace(CONFIG, revive_share=0.5)
  book = codebooks.initial(config, WIDTH, jax.random.key(0))
  counts = jnp.asarray([0.5, 3.5] * 8)
  book = Codebook(book.codes, counts, book.codes * counts[:, None])
  x = vectors(scale=50.0)
  is_real = everywhere().at[:, 5:].set(False)
  after = codebooks.revive(config, book, x, is_real, jax.random.key(2))
  for one, other in zip(book, after, strict=True):
    np.testing.assert_array_equal(one[1::2], other[1::2])
  kept = np.asarray(x)[np.asarray(is_real)]
  revived = np.asarray(after.codes[::2])
  assert all((kept == code).all(-1).any() for code in revived)
  assert len(np.unique(revived, axis=0)) == 8
  np.testing.assert_array_equal(after.counts[::2], 1.0)
  np.testing.assert_array_equal(after.sums[::2], revived)


def test_codes_without_a_vector_wait():
  config = dataclasses.replace(CONFIG, revive_share=0.5)
  book = codebooks.initial(config, WIDTH, jax.random.key(0))
  book = book._replace(counts=jnp.asarray([0.1] * 8 + [1.9] * 8))
  is_real = ~everywhere()
  is_real = is_real.at[2, :3].set(True)
  after = codebooks.revive(config, book, vectors(), is_real, jax.random.key(2))
  is_revived = np.isclose(after.counts, 0.5)
  assert is_revived.sum() == 3 and is_revived[:3].all()
  np.testing.assert_array_equal(after.codes[3:], book.codes[3:])


def test_nothing_is_dead_at_nought():
  book = codebooks.initial(CONFIG, WIDTH, jax.random.key(0))
  book = book._replace(counts=jnp.zeros(16))
  after = codebooks.revive(
    CONFIG, book, vectors(), everywhere(), jax.random.key(2)
  )
  jax.tree.map(np.testing.assert_array_equal, book, after)


def test_a_rotation_is_the_code_and_keeps_the_angle():
  x, codes = vectors(0), vectors(1)
  value, pull = jax.vjp(lambda x: gradients.rotation(x, codes), x)
  np.testing.assert_allclose(value, codes, rtol=1e-5, atol=1e-6)
  upstream = vectors(2)
  [gradient] = pull(upstream)
  # As the code is to the gradient above, so is the vector to that below.
  scale = jnp.linalg.norm(codes, axis=-1) / jnp.linalg.norm(x, axis=-1)
  np.testing.assert_allclose(
    (gradient * x).sum(-1), (upstream * codes).sum(-1), rtol=1e-4, atol=1e-4
  )
  np.testing.assert_allclose(
    jnp.linalg.norm(gradient, axis=-1),
    scale * jnp.linalg.norm(upstream, axis=-1),
    rtol=1e-5,
  )


@pytest.mark.parametrize('is_rotated', [False, True])
def test_twenty_steps_equal_vector_quantize_pytorch(is_rotated):
  torch = pytest.importorskip('torch', reason='the extra `parity`')
  peers = pytest.importorskip('vector_quantize_pytorch')
  peer = peers.VectorQuantize(
    dim=WIDTH,
    codebook_size=16,
    decay=0.99,
    threshold_ema_dead_code=0,
    commitment_weight=0.5,
    rotation_trick=is_rotated,
  )
  peer.train()
  book = codebooks.initial(CONFIG, WIDTH, jax.random.key(0))
  state = peer._codebook
  codes = torch.tensor(np.asarray(book.codes))[None]
  state.embed.data.copy_(codes)
  state.embed_avg.data.copy_(codes)
  estimate = gradients.rotation if is_rotated else gradients.straight_through

  def loss(x, codes, upstream):
    commitment = jnp.square(x - jax.lax.stop_gradient(codes)).mean()
    value = (estimate(x, codes) * upstream).sum() + 0.5 * commitment
    return value, commitment

  def close(ours, theirs):
    theirs = theirs.detach().numpy()
    error = np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max()
    assert error < 1e-5

  for step in range(20):
    x, upstream = vectors(step), vectors(100 + step)
    ids = codebooks.nearest(book.codes, x)
    quantised = book.codes[ids]
    (_, commitment), gradient = jax.value_and_grad(loss, has_aux=True)(
      x, quantised, upstream
    )
    theirs = torch.tensor(np.asarray(x), requires_grad=True)
    value, their_ids, their_commitment = peer(theirs)
    torch.sum(value * torch.tensor(np.asarray(upstream))).add(
      their_commitment.sum()
    ).backward()
    assert (np.asarray(ids) == their_ids.numpy()).all()
    close(quantised, value)
    close(0.5 * commitment, their_commitment)
    close(gradient, theirs.grad)
    book = codebooks.follow(CONFIG, book, x, ids, everywhere())
    close(book.codes, state.embed[0])
    close(book.counts, state.cluster_size[0])
    close(book.sums, state.embed_avg[0])
