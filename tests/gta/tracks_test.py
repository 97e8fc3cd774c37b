"""Tracks: the objective, its trunks, and what it is compared with."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from backbone.model import BackboneConfig
from data_pipelines.errors import InputError
from gta import held_out_tracks
from gta.composition import shares_around
from gta.enformer import EnformerConfig
from gta.tracks import EnformerTrunk, Tracks
from tests.objective_conformance import Conformance

LENGTH, BIN = 128, 8


BACKBONE = BackboneConfig(
  pattern=('delta', 'local'),
  width=16,
  hidden=24,
  num_heads=2,
  window=4,
  delta_heads=4,
  delta_key_width=4,
  delta_value_width=4,
)


def make_batch():
  rng = np.random.default_rng(0)
  shape = 8, LENGTH
  segment_ids = np.ones(shape, np.int32)
  segment_ids[0, LENGTH // 2 :] = 0
  return {
    'sequence': rng.integers(0, 4, shape).astype(np.uint8),
    'segment_ids': segment_ids,
    'positions': np.tile(np.arange(LENGTH, dtype=np.int32), (8, 1)),
    'target': rng.gamma(1, 1, (8, 8, 3)).astype(np.float32),
    # The last track is of another genome than half of the windows.
    'share': np.array([[0.25, 0.25, 0.5], [0.5, 0.5, 0]] * 4, np.float32),
    'mean': rng.uniform(0.5, 2, (8, 3)).astype(np.float32),
    'deviation': rng.uniform(0.5, 2, (8, 3)).astype(np.float32),
    'weight': np.ones((8, 1), np.float32),
  }


ENFORMER = EnformerConfig(
  num_bases=LENGTH,
  width=16,
  tower=(8, 12, 16),
  num_layers=1,
  num_heads=2,
  key_width=4,
  num_targets=8,
  num_position_features=12,
)


class TestTracksOfEnformersFamily(Conformance):
  relative_tolerance = 1e-4
  overfit_fraction = 0.95

  def objective(self):
    return Tracks(EnformerTrunk(ENFORMER), num_tracks=3, target_bin=BIN)

  def batch(self):
    return make_batch()


class TestTracksOfATowerAndOurBackbone(TestTracksOfEnformersFamily):
  def objective(self):
    tower = dataclasses.replace(ENFORMER, num_layers=0)
    trunk = EnformerTrunk(tower, BACKBONE, composition=(16, 48))
    return Tracks(
      trunk, num_tracks=3, target_bin=BIN, composition=(8, 24), noise='normal'
    )


def test_a_backbone_stands_where_the_transformer_was():
  with pytest.raises(ValueError, match='num_layers=1: a backbone needs 0'):
    EnformerTrunk(ENFORMER, BACKBONE)
  wide = dataclasses.replace(BACKBONE, width=32)
  tower = dataclasses.replace(ENFORMER, num_layers=0)
  with pytest.raises(ValueError, match='width 16 is not that'):
    EnformerTrunk(tower, wide)


def test_a_trunk_reads_shares_beside_the_tower():
  trunk = EnformerTrunk(ENFORMER, composition=(16, 48))
  found = trunk.build(jax.random.key(0))
  drawn = EnformerTrunk(ENFORMER).build(jax.random.key(0))
  np.testing.assert_allclose(found.scale[...], 0.3 * drawn.scale[...])
  found.scale[...] = jnp.zeros_like(found.scale[...])
  found.offset[...] = jnp.zeros_like(found.offset[...])
  batch = jax.tree.map(jnp.asarray, make_batch())
  bases = batch['sequence']
  # A and T change places: the shares are the same, the bases are not.
  other = jnp.array([3, 1, 2, 0], jnp.uint8)[bases]
  same = found({**batch, 'sequence': other})
  np.testing.assert_allclose(same, found(batch), atol=1e-5)
  more = bases.at[1, 40].set(jnp.where(bases[1, 40] == 0, 1, 0))
  assert np.abs(found({**batch, 'sequence': more}) - found(batch)).max() > 1e-3


def test_a_trunk_of_enformers_family_has_its_bins():
  objective = Tracks(EnformerTrunk(ENFORMER), num_tracks=3, target_bin=BIN)
  model, aux = objective.init(jax.random.key(0))
  found = objective.predict(model, jax.tree.map(jnp.asarray, make_batch()))
  # A vector of 16 bases makes two bins of 8.
  assert model.split == 2 and aux == ()
  assert found.shape == (8, 8, 3)
  assert (np.asarray(found) > 0).all()


def test_another_number_of_tracks_is_one_line():
  objective = Tracks(EnformerTrunk(ENFORMER), num_tracks=4, target_bin=BIN)
  model, _ = objective.init(jax.random.key(0))
  with pytest.raises(InputError, match='num_tracks=4, the data have 3'):
    objective.predict(model, jax.tree.map(jnp.asarray, make_batch()))


def test_scores_are_means_of_correlations():
  rng = np.random.default_rng(0)
  target = rng.gamma(1, 1, (5, 20, 3)).astype(np.float32)
  predicted = (target + rng.gamma(1, 1, target.shape)).astype(np.float32)
  value, low, high = held_out_tracks._score(target, predicted)
  wanted = [
    scipy.stats.pearsonr(
      np.log1p(target[..., i]).ravel(), np.log1p(predicted[..., i]).ravel()
    )[0]
    for i in range(3)
  ]
  np.testing.assert_allclose(value, np.mean(wanted), atol=1e-6)
  assert low <= value <= high


def test_a_deviance_is_of_logarithms_and_of_tracks_that_are_there():
  objective = Tracks(EnformerTrunk(ENFORMER), num_tracks=3, target_bin=BIN)
  batch = jax.tree.map(jnp.asarray, make_batch())
  model, _ = objective.init(jax.random.key(0))

  def loss(target):
    given = {**batch, 'target': target}
    key = jax.random.key(0)
    return float(objective.loss(model, (), given, key, train=True)[0])

  found = objective.predict(model, batch)
  is_track = batch['share'][:, None] > 0
  assert abs(loss(found)) < 1e-5
  # What is no track of a window may be anything.
  assert abs(loss(jnp.where(is_track, found, 9.0))) < 1e-5
  # Written out for one bin of one track.
  target = found.at[1, 4, 1].add(1.0)
  x, y = (jnp.log1p(values[1, 4, 1]) for values in (found, target))
  relative = (x - y - y * jnp.log(x / y)) / batch['mean'][1, 1]
  wanted = 0.5 * relative / (8 * 8)
  np.testing.assert_allclose(loss(target), wanted, rtol=1e-3)


def test_shares_are_those_of_windows_around_bins():
  rng = np.random.default_rng(0)
  sequence = rng.integers(0, 5, (2, 96))
  bases = np.eye(5)[sequence][..., :4]
  sizes = 8, 24, 40
  found = shares_around(jnp.asarray(bases), 8, sizes)
  assert found.shape == (2, 12, 6)
  pairs = (sequence[:, :-1] == 1) & (sequence[:, 1:] == 2)
  cpg = np.pad(pairs, ((0, 0), (0, 1)))
  gc = (sequence == 1) | (sequence == 2)
  for place in range(12):
    for at, size in enumerate(sizes):
      around = size // 8 // 2
      low, high = max(place - around, 0) * 8, (place + around + 1) * 8
      for row, (what, center, deviation) in enumerate(
        ((cpg, 0.01, 0.01), (gc, 0.42, 0.08))
      ):
        share = what[:, low:high].mean(1)
        np.testing.assert_allclose(
          found[:, place, 3 * row + at],
          (share - center) / deviation,
          rtol=1e-4,
          atol=1e-4,
        )


def test_normal_errors_are_in_deviations_and_a_model_starts_at_the_mean():
  trunk = EnformerTrunk(ENFORMER)
  objective = Tracks(trunk, 3, BIN, composition=(8, 24), noise='normal')
  batch = jax.tree.map(jnp.asarray, make_batch())
  model, _ = objective.init(jax.random.key(0))
  mean = jnp.broadcast_to(batch['mean'][:, None], batch['target'].shape)
  found = objective.predict(model, batch)
  np.testing.assert_allclose(np.log1p(found), mean, rtol=1e-5)
  key = jax.random.key(0)
  loss, _ = objective.loss(model, (), batch, key, train=True)
  error = (np.log1p(batch['target']) - mean) / batch['deviation'][:, None]
  wanted = (np.square(error).mean(1) * batch['share']).sum(-1).mean()
  np.testing.assert_allclose(loss, wanted, rtol=1e-5)


def test_every_track_has_a_linear_term_in_composition():
  trunk = EnformerTrunk(ENFORMER)
  objective = Tracks(trunk, 3, BIN, composition=(8, 24), noise='normal')
  batch = jax.tree.map(jnp.asarray, make_batch())
  model, _ = objective.init(jax.random.key(0))
  weights = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
  model.composition_head.kernel[...] = jnp.asarray(weights)
  found = objective._logarithm(model, batch) - batch['mean'][:, None]
  # The first window ends in its middle.
  bases = np.eye(4)[np.asarray(batch['sequence'])]
  bases = bases * np.asarray(batch['segment_ids'] > 0)[..., None]
  shares = np.asarray(shares_around(jnp.asarray(bases), BIN, (8, 24)))
  wanted = shares[:, 4:12] @ weights * batch['deviation'][:, None]
  np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)
