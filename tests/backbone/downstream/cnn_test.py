"""The convolutional baseline."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from backbone.downstream import cnn
from backbone.downstream.batches import BatchShape
from backbone.downstream.finetune import evaluate
from backbone.downstream.finetune_config import FineTuneConfig
from data_pipelines import records
from data_pipelines.tasks import Task

CONFIG = cnn.CNNConfig(filters=16, size=7, width=16, num_blocks=1, block_size=3)


def _model(**changes):
  config = dataclasses.replace(CONFIG, **changes)
  return config.init(jax.random.key(0))[0]


def _encode(model, rows, segment_ids=None):
  rows = jnp.asarray(rows)
  segments = jnp.ones_like(rows) if segment_ids is None else segment_ids
  return np.asarray(
    cnn.encode(model, {'sequence': rows, 'segment_ids': segments})
  )


def test_a_vector_a_unit_within_its_reach():
  rows = np.random.default_rng(0).integers(0, 4, (1, 36))
  model = _model()
  before = _encode(model, rows)
  assert before.shape == (1, 12, 16)
  changed = rows.copy()
  changed[0, 18] = (changed[0, 18] + 1) % 4
  is_other = (_encode(model, changed) != before).any(-1)[0]
  # Base 18 is in unit 6; a filter reaches 3 bases, a block one unit.
  assert is_other[6]
  assert np.flatnonzero(is_other).min() >= 4
  assert np.flatnonzero(is_other).max() <= 8


def test_segments_and_unknown_bases():
  rng = np.random.default_rng(0)
  one, other = rng.integers(0, 4, (2, 1, 18))
  packed = np.concatenate([one, other], axis=1)
  segment_ids = jnp.asarray(np.repeat([[1, 2]], 18, axis=1))
  model = _model()
  apart = np.concatenate([_encode(model, one), _encode(model, other)], axis=1)
  together = _encode(model, packed, segment_ids)
  np.testing.assert_allclose(together, apart, rtol=1e-4, atol=1e-5)
  unknown = np.full((1, 18), records.N)
  padding = np.full((1, 18), records.PAD)
  np.testing.assert_array_equal(
    _encode(model, unknown), _encode(model, padding)
  )


def test_a_planted_word_is_learnt():
  rng = np.random.default_rng(0)
  sequences = rng.integers(0, 4, (480, 45)).astype(np.uint8)
  labels = np.arange(480) // 4 % 2
  word = np.array([0, 2, 1, 3, 3, 0, 1], np.uint8)
  for i in np.flatnonzero(labels):
    at = rng.integers(38)
    sequences[i, at : at + 7] = word
  split = np.array(['train', 'train', 'validation', 'test'])[np.arange(480) % 4]
  config = FineTuneConfig(
    learning_rates=(0.01,),
    epochs=15,
    patience=15,
    has_maximum=True,
    batches=BatchShape(32, num_lengths=1),
  )
  task = Task('word', list(sequences), labels, split)
  score, _ = evaluate(task, cnn.encode, _model(filters=32), config)
  assert score.value > 0.8
