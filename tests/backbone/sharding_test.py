"""Placement by rule: first match, leading axes, and what is refused."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from backbone import sharding


def test_specs_follow_the_path_and_skip_stacked_axes():
  mesh = sharding.make_mesh(data=4, model=2)
  tree = {
    'blocks': {
      'mixer': {'heads_in': {'kernel': jnp.zeros((3, 8, 4, 16))}},
      'mlp': {'down': {'kernel': jnp.zeros((3, 32, 8))}},
    },
    'count': jnp.zeros(()),
  }
  specs = sharding.param_specs(tree, mesh)
  query = specs['blocks']['mixer']['heads_in']['kernel']
  assert query.spec == P(None, None, 'model', None)
  assert specs['blocks']['mlp']['down']['kernel'].spec == P(None, 'model', None)
  assert specs['count'].spec == P()


def test_unmatched_parameter_raises():
  mesh = sharding.make_mesh(data=8)
  with pytest.raises(ValueError, match='no sharding rule for parameter odd'):
    sharding.param_specs({'odd': jnp.zeros(3)}, mesh)


def test_indivisible_parameter_raises():
  mesh = sharding.make_mesh(data=2, model=4)
  tree = {'heads_in': {'kernel': jnp.zeros((8, 6, 16))}}
  with pytest.raises(ValueError, match='6 cannot be split'):
    sharding.param_specs(tree, mesh)


def test_two_dimensions_on_one_axis_raise():
  with pytest.raises(ValueError, match='one mesh axis'):
    sharding.DEFAULT_RULES.spec('heads', 'mlp')
  with pytest.raises(AttributeError):
    sharding.DEFAULT_RULES.spec('heds')


def test_mesh_must_fill_the_devices():
  with pytest.raises(ValueError, match='does not fill 8 devices'):
    sharding.make_mesh(data=3, model=2)


def test_activation_axes_that_do_not_divide_are_left_out():
  with jax.set_mesh(sharding.make_mesh(data=4, model=2)):
    spec = sharding.partition((8, 5, 3), 'batch', None, 'heads')
  assert spec == P('data', None, None)
  assert sharding.partition((8, 5, 3), 'batch', None, 'heads') is None
