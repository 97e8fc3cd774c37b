"""The masked objective conforms, and nothing behind a mask leaks."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from backbone.model import BackboneConfig
from data_pipelines import records
from lifecode.masking import UnitMasking
from lifecode.model import MASK, LifeCodeConfig, encode
from lifecode.objective import Pretrain
from tests.objective_conformance import Conformance
from tests.tolerance import assert_close

TINY = LifeCodeConfig(
  backbone=BackboneConfig(
    pattern=('delta', 'local'),
    width=32,
    hidden=48,
    num_heads=2,
    delta_heads=4,
    delta_key_width=8,
    delta_value_width=16,
    window=8,
  ),
  base_width=16,
)


def make_batch(rows=8, length=48):
  rng = np.random.default_rng(0)
  segment_ids = np.zeros((rows, length), np.int32)
  segment_ids[:, :18], segment_ids[:, 18:42] = 1, 2
  positions = np.zeros_like(segment_ids)
  positions[:, :18], positions[:, 18:42] = np.arange(18), np.arange(24)
  sequence = rng.integers(0, 4, (rows, length)).astype(np.uint8)
  sequence[:, 4] = records.N
  sequence[segment_ids == 0] = records.PAD
  blank = np.zeros((rows, length), np.uint8)
  return {
    'sequence': sequence,
    'segment_ids': segment_ids,
    'positions': positions,
    'kind': blank,
    'codon_phase': blank + records.PHASE_NONE,
    'genetic_code': blank + 1,
    'soft_mask': blank.astype(bool),
    'codon_is_sampled': blank.astype(bool),
  }


def on_device(batch):
  return jax.tree.map(jnp.asarray, batch)


class TestPretrain(Conformance):
  overfit_steps = 80

  def objective(self):
    return Pretrain(model=TINY, masking=UnitMasking(rate=0.5))

  def batch(self):
    return make_batch()


def test_hidden_bases_cannot_be_recovered():
  """With every unit masked, changing the bases leaves the scores unchanged."""
  objective = Pretrain(model=TINY, masking=UnitMasking(rate=1.0))
  model, _ = objective.init(jax.random.key(0))
  graph, params = nnx.split(model)

  @jax.jit
  def logits(sequence):
    batch = on_device(make_batch())
    corrupted, _ = objective.masking(
      sequence, batch['segment_ids'], jax.random.key(1), train=False
    )
    merged = nnx.merge(graph, params)
    return merged.logits(corrupted, batch['segment_ids'], batch['positions'])

  sequence = make_batch()['sequence'].astype(np.int32)
  changed = np.where(sequence < 4, 3 - sequence, sequence)
  is_real = make_batch()['segment_ids'] > 0
  first, second = logits(jnp.asarray(sequence)), logits(jnp.asarray(changed))
  assert (np.asarray(first)[is_real] == np.asarray(second)[is_real]).all()


def test_units_are_masked_whole_in_the_shares_asked_for():
  masking = UnitMasking(rate=0.2)
  sequence = jnp.zeros((64, 3_000), jnp.int32)
  segment_ids = jnp.ones((64, 3_000), jnp.int32).at[:, 2_400:].set(0)
  corrupted, is_selected = masking(
    sequence, segment_ids, jax.random.key(0), train=True
  )
  units = np.asarray(is_selected).reshape(64, 1_000, 3)
  assert (units.all(-1) == units.any(-1)).all()
  assert not units[:, 800:].any()
  selected = np.asarray(corrupted)[np.asarray(is_selected)]
  assert abs(units[:, :800].mean() - 0.2) < 0.01
  assert abs((selected == MASK).mean() - 0.8) < 0.02
  # A tenth is random, a quarter of which equals the A that stood there.
  assert abs((selected == 0).mean() - (0.1 + 0.1 / 4)) < 0.02
  assert (np.asarray(corrupted)[~np.asarray(is_selected)] == 0).all()


def test_evaluation_shows_no_selected_unit():
  masking = UnitMasking()
  sequence = jnp.zeros((8, 3_000), jnp.int32)
  corrupted, is_selected = masking(
    sequence, jnp.ones_like(sequence), jax.random.key(0), train=False
  )
  assert (np.asarray(corrupted == MASK) == np.asarray(is_selected)).all()


def test_n_is_never_a_target_and_an_empty_mask_gives_zero():
  objective = Pretrain(model=TINY)
  model, aux = objective.init(jax.random.key(0))
  batch = make_batch()
  batch['sequence'] = np.full_like(batch['sequence'], records.N)
  loss, (_, metrics) = objective.loss(
    model, aux, on_device(batch), jax.random.key(0), train=True
  )
  assert float(loss) == 0
  assert float(metrics['bits_per_base'].weight) == 0


def test_repeats_can_weigh_less():
  objective = Pretrain(model=TINY, masking=UnitMasking(rate=1.0))
  model, aux = objective.init(jax.random.key(0))
  light = dataclasses.replace(objective, soft_mask_weight=0.0)
  batch = make_batch()
  batch['soft_mask'] = batch['segment_ids'] == 2
  only_first = dict(batch)
  only_first['sequence'] = np.where(
    batch['segment_ids'] == 2, records.N, batch['sequence']
  )
  key = jax.random.key(0)
  expected, _ = objective.loss(
    model, aux, on_device(only_first), key, train=False
  )
  actual, _ = light.loss(model, aux, on_device(batch), key, train=False)
  assert_close(actual, expected, dtype=jnp.float32, length=8 * 48)


def test_a_packed_segment_is_encoded_as_alone():
  model, _ = Pretrain(model=TINY).init(jax.random.key(0))
  batch = make_batch()
  alone = {name: x[:, 18:42] for name, x in batch.items()}
  alone['segment_ids'] = np.ones_like(alone['segment_ids'])
  together = encode(model, on_device(batch))[:, 6:14]
  alone = encode(model, on_device(alone))
  assert_close(together, alone, dtype=jnp.float32, length=48)
