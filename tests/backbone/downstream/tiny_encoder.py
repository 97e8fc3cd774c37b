"""A tiny encoder of units on the backbone, for tests of fine-tuning."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from backbone.model import Backbone, BackboneConfig
from backbone.nn.embed import Embed
from backbone.nn.linear import Linear
from backbone.sharding import path_name
from backbone.train.state import split_model

CONFIG = BackboneConfig(
  pattern=('local',),
  width=16,
  hidden=32,
  num_heads=2,
  delta_heads=2,
  delta_key_width=4,
  delta_value_width=8,
  window=4,
)


class TinyEncoder(nnx.Module):
  """Bases, merged to units, encoded."""

  def __init__(self, config, key):
    embed_key, merge_key, backbone_key = jax.random.split(key, 3)
    self.embed = Embed(6, 8, rngs=nnx.Rngs(embed_key))
    self.merge = Linear((3, 8), config.width, rngs=nnx.Rngs(merge_key))
    self.backbone = Backbone(config, key=backbone_key)


def tiny(seed=0, config=CONFIG):
  """Parameters drawn by NumPy: JAX would compile a draw for every shape."""
  rng = np.random.default_rng(seed)

  def draw(path, leaf):
    if path_name(path).endswith('scale'):
      return jnp.ones(leaf.shape)
    noise = rng.normal(size=leaf.shape) / 4
    return jnp.asarray(noise, jnp.float32)

  graph, shapes = split_model(
    nnx.eval_shape(lambda: TinyEncoder(config, jax.random.key(0)))
  )
  return nnx.merge(graph, jax.tree_util.tree_map_with_path(draw, shapes))


def encode(model, batch):
  bases = model.embed(jnp.asarray(batch['sequence'], jnp.int32))
  rows, length, width = bases.shape
  units = model.merge(bases.reshape(rows, length // 3, 3, width))
  return model.backbone(
    units, batch['segment_ids'][:, ::3], batch['positions'][:, ::3] // 3
  )
