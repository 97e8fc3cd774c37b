"""Stage 1 as the trainer sees it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.objective_conformance import Conformance
from tests.vqdna.batches import make_batch
from vqdna.codebook import CodebookConfig
from vqdna.finite_scalar import FiniteScalar
from vqdna.masking import SpanMasking
from vqdna.network import NetworkConfig
from vqdna.objective import VocabularyLearning, whole_tokens
from vqdna.quantizers import HierarchicalResidual

NETWORK = NetworkConfig(stem_width=8, width=16, num_blocks=2, taps=(1, 2))
QUANTISER = HierarchicalResidual((CodebookConfig(8), CodebookConfig(16)))
TINY = VocabularyLearning(network=NETWORK, quantiser=QUANTISER)


class TestVocabularyLearning(Conformance):
  # Codes jump while the first batches place them.
  relative_tolerance = 1e-4

  def objective(self):
    return TINY

  def batch(self):
    return make_batch()


class TestMaskedThirdsWithoutACodebook(Conformance):
  def objective(self):
    network = dataclasses.replace(
      NETWORK, taps=(2,), token_stride=3, code_width=2
    )
    return VocabularyLearning(
      network=network,
      quantiser=FiniteScalar((5, 4)),
      masking=SpanMasking(0.2, 3),
    )

  def batch(self):
    return make_batch()


def loss_of(objective, batch, seed=0):
  model, aux = objective.init(jax.random.key(0))
  batch = jax.tree.map(jnp.asarray, batch)
  return objective.loss(model, aux, batch, jax.random.key(seed), train=True)


def test_the_loss_is_cross_entropy_and_half_the_commitment():
  loss, (_, metrics) = loss_of(TINY, make_batch())
  nats = metrics['bits_per_base'].value() * np.log(2)
  expected = nats + 0.5 * metrics['commitment'].value()
  np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_an_unknown_base_is_no_target_and_leads_no_code():
  batch = make_batch()
  num_bases = ((batch['sequence'] < 4) & (batch['segment_ids'] > 0)).sum()
  _, (_, metrics) = loss_of(TINY, batch)
  assert metrics['bits_per_base'].weight == num_bases
  is_base = jnp.asarray([[True] * 4 + [False] + [True] * 4])
  assert whole_tokens(is_base, 3).tolist() == [[True, False, True]]


def test_hidden_bases_are_told_apart_in_the_metrics():
  batch = make_batch()
  objective = dataclasses.replace(TINY, masking=SpanMasking(0.5))
  _, (_, metrics) = loss_of(objective, batch)
  shown, hidden = metrics['accuracy'].weight, metrics['hidden_accuracy'].weight
  assert shown + hidden == metrics['bits_per_base'].weight
  assert 0 < hidden < shown + hidden


def test_what_is_hidden_does_not_reach_the_codes():
  objective = dataclasses.replace(TINY, masking=SpanMasking(1.0))
  one, other = make_batch(seed=0), make_batch(seed=1)
  ids = []
  for batch in (one, other):
    model, aux = objective.init(jax.random.key(0))
    batch = jax.tree.map(jnp.asarray, batch)
    is_hidden = batch['segment_ids'] > 0
    quantised = objective.quantise(
      model, aux, batch, jax.random.key(1), is_hidden=is_hidden
    )
    ids.append(quantised.ids)
  jax.tree.map(np.testing.assert_array_equal, *ids)


def test_as_many_levels_as_taps():
  with pytest.raises(ValueError, match='2 levels of codes but 1 taps'):
    VocabularyLearning(network=dataclasses.replace(NETWORK, taps=(2,)))
