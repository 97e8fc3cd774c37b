"""Adapters: which kernels, how many parameters, and what they add."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import PartitionSpec as P

from backbone import sharding
from backbone.downstream import lora
from backbone.train.state import split_model
from tests.backbone.downstream import tiny_encoder
from tests.tolerance import assert_close

CONFIG = lora.LoRAConfig(rank=2, alpha=6.0)
KEY = jax.random.key(1)


def _params():
  config = dataclasses.replace(
    tiny_encoder.CONFIG, pattern=('delta', 'local'), num_super_blocks=2
  )
  return split_model(tiny_encoder.tiny(config=config))


def _trained(adapters):
  """Adapters whose B is no longer zero."""
  rng = np.random.default_rng(2)
  return jax.tree.map(
    lambda leaf: leaf + 0.3 * rng.normal(size=leaf.shape).astype(np.float32),
    adapters,
  )


def test_new_adapters_change_nothing():
  _, params = _params()
  adapters = lora.init(params, CONFIG, KEY)
  jax.tree.map(
    np.testing.assert_array_equal,
    lora.apply(params, adapters, CONFIG),
    params,
  )


def test_every_linear_kernel_of_the_backbone_is_adapted():
  _, params = _params()
  adapters = lora.init(params, CONFIG, KEY)
  kernels = {
    sharding.path_name(path): leaf
    for path, leaf in jax.tree.leaves_with_path(params)
    if sharding.path_name(path).endswith('kernel')
  }
  expected = {
    name
    for name in kernels
    if name.startswith('backbone/') and 'convolution' not in name
  }
  assert set(adapters) == expected
  # Inputs and outputs of each kernel: two stacked super-blocks of delta and
  # local, width 16, hidden 32, 2 heads.
  sizes = {
    'blocks/0/mixer/heads_in': (16, 2 * (4 + 4 + 8 + 8)),
    'blocks/0/mixer/heads_out': (2 * 8, 16),
    'blocks/0/mixer/decay': (16, 2),
    'blocks/0/mixer/beta': (16, 2),
    'blocks/1/mixer/heads_in': (16, 2 * 3 * 8),
    'blocks/1/mixer/heads_out': (2 * 8, 16),
  }
  for block in (0, 1):
    sizes[f'blocks/{block}/mlp/up'] = (16, 32)
    sizes[f'blocks/{block}/mlp/gate'] = (16, 32)
    sizes[f'blocks/{block}/mlp/down'] = (32, 16)
  for name, (inputs, outputs) in sizes.items():
    adapter = adapters[f'backbone/blocks/layers/{name}/kernel']
    assert adapter['lora_a'].size == 2 * inputs * CONFIG.rank
    assert adapter['lora_b'].size == 2 * outputs * CONFIG.rank
    assert adapter['lora_a'].shape[-1] == adapter['lora_b'].shape[1] == 2
  assert len(sizes) == len(adapters)
  random = {n: np.asarray(a['lora_a']).ravel()[:4] for n, a in adapters.items()}
  assert len({tuple(start) for start in random.values()}) == len(adapters)


@pytest.mark.parametrize('name', ['heads_in', 'heads_out', 'merge', 'unmerge'])
def test_the_product_is_of_matrices_of_each_layer(name):
  """Against a loop over layers on flattened kernels."""
  shape = (5, 4, 3) if name in ('heads_in', 'unmerge') else (4, 3, 5)
  kernel = np.random.default_rng(3).normal(size=(2, *shape))
  kernel = jnp.asarray(kernel, jnp.float32)
  params = {'backbone': {name: {'kernel': kernel}}}
  adapters = _trained(lora.init(params, CONFIG, KEY))
  merged = lora.apply(params, adapters, CONFIG)['backbone'][name]['kernel']
  adapter = adapters[f'backbone/{name}/kernel']
  for layer in range(2):
    a = np.asarray(adapter['lora_a'][layer]).reshape(-1, 2)
    b = np.asarray(adapter['lora_b'][layer]).reshape(2, -1)
    assert len(a) == (5 if shape[0] == 5 else 12)
    expected = kernel[layer] + 3 * (a @ b).reshape(shape)
    assert_close(merged[layer], expected, dtype=jnp.float32, length=2)


def test_merged_is_as_unmerged():
  """Merged once, or in every call of a compiled function."""
  graph, params = _params()
  adapters = _trained(lora.init(params, CONFIG, KEY))
  sequence = np.random.default_rng(0).integers(0, 4, (2, 24)).astype(np.uint8)
  batch = {
    'sequence': jnp.asarray(sequence),
    'segment_ids': jnp.ones((2, 24), jnp.int32),
    'positions': jnp.tile(jnp.arange(24), (2, 1)),
  }

  @jax.jit
  def encoded(params):
    return tiny_encoder.encode(nnx.merge(graph, params), batch)

  @jax.jit
  def unmerged(adapters):
    return encoded(lora.apply(params, adapters, CONFIG))

  actual = encoded(lora.apply(params, adapters, CONFIG))
  assert_close(actual, unmerged(adapters), dtype=jnp.float32, length=64)
  assert np.abs(np.asarray(actual - encoded(params))).max() > 0.1


def test_patterns_that_fit_nothing_or_no_matrix_are_refused():
  _, params = _params()
  with pytest.raises(ValueError, match='matches no kernel'):
    lora.init(params, lora.LoRAConfig(pattern='decoder/'), KEY)
  with pytest.raises(ValueError, match='embed/table, whose axes are unknown'):
    lora.init(params, lora.LoRAConfig(pattern='embed/'), KEY)
  with pytest.raises(ValueError, match='rank=0'):
    lora.LoRAConfig(rank=0)
  adapters = lora.init(params, CONFIG, KEY)
  with pytest.raises(ValueError, match='no backbone/'):
    lora.apply({'merge': params['merge']}, adapters, CONFIG)


def test_adapters_have_a_place_on_the_mesh():
  _, params = _params()
  specs = sharding.param_specs(
    {'adapters': lora.init(params, CONFIG, KEY)},
    sharding.make_mesh(data=4, model=2),
  )
  for spec in jax.tree.leaves(specs):
    assert not any(spec.spec)
  assert isinstance(jax.tree.leaves(specs)[0].spec, P)
