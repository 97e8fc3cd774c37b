"""The toy objective conforms; `Sum` is an objective too."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from backbone.train.objective import Sum
from tests import objective_conformance
from tests.backbone.train import toy


class TestToy(objective_conformance.Conformance):
  """The suite itself, on the objective of these tests."""

  def objective(self):
    return toy.Toy()

  def batch(self):
    return toy.ToyData().batch(0)


@pytest.fixture(scope='module')
def summed():
  part = toy.Toy()
  return Sum((part, dataclasses.replace(part, mask_rate=0.9)), (1.0, 0.5))


def test_sum_weighs_its_parts_and_keeps_their_aux_and_metrics(summed):
  batch = jax.tree.map(jnp.asarray, toy.ToyData().batch(0))
  key = jax.random.key(1)
  model, aux = summed.init(jax.random.key(0))
  loss, (after, metrics) = summed.loss(model, aux, batch, key, train=True)
  parts = [
    part.loss(model, a, batch, key, train=True)[0]
    for part, a in zip(summed.parts, aux, strict=True)
  ]
  np.testing.assert_allclose(loss, parts[0] + 0.5 * parts[1], rtol=1e-6)
  assert [int(a['calls']) for a in after] == [1, 1]
  assert set(metrics) == {'Toy0/loss', 'Toy1/loss'}
  assert summed.vocabulary == toy.VOCABULARY


def test_sum_needs_a_weight_per_part():
  with pytest.raises(ValueError, match='1 parts and 2 weights'):
    Sum((toy.Toy(),), (1.0, 2.0))
