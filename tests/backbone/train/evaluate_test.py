"""Evaluation sums first and divides last."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from backbone import sharding
from backbone.array_types import Mean
from backbone.train import evaluate
from tests.backbone.train import toy


def test_batches_are_weighed_by_what_they_hold():
  class Counting(toy.Toy):
    """Its loss is the share of rows padded."""

    def loss(self, model, aux, batch, key, *, train):
      del model, key
      assert not train
      is_real = batch['segment_ids'] > 0
      mean = Mean(is_real.sum() * 1.0, is_real.any(1).sum() * 1.0)
      return mean.total, (aux, {'real_bases': mean})

  full, empty = toy.ToyData().batch(0), toy.ToyData().batch(1)
  full['segment_ids'][:] = 1
  empty['segment_ids'][:] = 0
  empty['segment_ids'][0, :12] = 1
  objective = Counting()
  model, aux = objective.init(jax.random.key(0))
  assert isinstance(model, nnx.Module)
  mesh = sharding.make_mesh(data=4, model=2)
  means = evaluate.evaluate(
    objective, model, aux, [full, empty], key=jax.random.key(0), mesh=mesh
  )
  assert means['real_bases'].value() == pytest.approx((8 * 24 + 12) / 9)
  assert means['loss'].weight == 2


def test_the_same_model_gets_the_same_number():
  objective, data = toy.Toy(), toy.ToyData()
  model, aux = objective.init(jax.random.key(0))
  mesh = sharding.make_mesh(devices=jax.devices()[:1])
  runs = [
    evaluate.evaluate(
      objective,
      model,
      aux,
      data.evaluation('validation', max_rows=16)[0][1],
      key=jax.random.key(3),
      mesh=mesh,
    )['loss']
    for _ in range(2)
  ]
  assert runs[0] == runs[1]


def test_sources_are_named_and_summed():
  def run(params, aux, batches):
    del params, aux
    [batch] = batches
    return {'loss': Mean(*jnp.asarray(batch['x']))}

  sources = [
    ('a', [{'x': np.array([1.0, 1.0])}]),
    ('b', [{'x': np.array([5.0, 2.0])}]),
  ]
  means = evaluate.evaluate_sources(run, {}, (), sources)
  assert {name: mean.value() for name, mean in means.items()} == {
    'loss': 2.0,
    'a/loss': 1.0,
    'b/loss': 2.5,
  }
  assert set(evaluate.evaluate_sources(run, {}, (), sources[:1])) == {'loss'}
