"""Names and layout of ESM-2's tensors in the public files, and in our tree."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from backbone.array_types import PyTree
from lifecode.teacher.esm2 import VOCABULARY, ESM2Config


def shapes(config: ESM2Config) -> dict[str, tuple[int, ...]]:
  """The shape of every tensor that is read, by name."""
  width, vocab = config.width, len(VOCABULARY)
  found = {
    'esm.embeddings.word_embeddings.weight': (vocab, width),
    'lm_head.bias': (vocab,),
  }

  def linear(name, inputs, outputs):
    found[f'{name}.weight'] = (outputs, inputs)
    found[f'{name}.bias'] = (outputs,)

  def norm(name):
    found[f'{name}.weight'] = found[f'{name}.bias'] = (width,)

  for layer in range(config.num_layers):
    prefix = f'esm.encoder.layer.{layer}'
    norm(f'{prefix}.attention.LayerNorm')
    for part in ('self.query', 'self.key', 'self.value', 'output.dense'):
      linear(f'{prefix}.attention.{part}', width, width)
    norm(f'{prefix}.LayerNorm')
    linear(f'{prefix}.intermediate.dense', width, 4 * width)
    linear(f'{prefix}.output.dense', 4 * width, width)
  norm('esm.encoder.emb_layer_norm_after')
  linear('lm_head.dense', width, width)
  norm('lm_head.layer_norm')
  return found


def to_parameters(
  tensors: Mapping[str, np.ndarray], config: ESM2Config
) -> dict[str, Any]:
  """As the tree of our model; weights are [outputs, inputs] in the files."""
  heads = (config.num_heads, config.width // config.num_heads)

  def linear(name, inputs=None, outputs=None):
    weight = tensors[f'{name}.weight'].T
    inputs = inputs or weight.shape[:1]
    outputs = outputs or weight.shape[1:]
    return {
      'kernel': weight.reshape(*inputs, *outputs),
      'bias': tensors[f'{name}.bias'].reshape(outputs),
    }

  def norm(name):
    return {'scale': tensors[f'{name}.weight'], 'bias': tensors[f'{name}.bias']}

  def layer(prefix):
    attention = f'{prefix}.attention'
    joined = [
      linear(f'{attention}.self.{part}', outputs=heads)
      for part in ('query', 'key', 'value')
    ]
    return {
      'attention_norm': norm(f'{attention}.LayerNorm'),
      'heads_in': jax.tree.map(lambda *x: np.concatenate(x, -1), *joined),
      'heads_out': linear(f'{attention}.output.dense', inputs=heads),
      'mlp_norm': norm(f'{prefix}.LayerNorm'),
      'up': linear(f'{prefix}.intermediate.dense'),
      'down': linear(f'{prefix}.output.dense'),
    }

  layers = [layer(f'esm.encoder.layer.{i}') for i in range(config.num_layers)]
  parameters = {
    'table': tensors['esm.embeddings.word_embeddings.weight'],
    'stack': {'layers': jax.tree.map(lambda *x: np.stack(x), *layers)},
    'norm': norm('esm.encoder.emb_layer_norm_after'),
    'projection': linear('lm_head.dense'),
    'projection_norm': norm('lm_head.layer_norm'),
    'bias': tensors['lm_head.bias'],
  }
  return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), parameters)


def to_tensors(params: PyTree) -> dict[str, np.ndarray]:
  """The inverse of `to_parameters`."""
  tensors = {
    'esm.embeddings.word_embeddings.weight': np.asarray(params['table']),
    'lm_head.bias': np.asarray(params['bias']),
  }

  def linear(name, part, num_inputs=1):
    kernel, bias = np.asarray(part['kernel']), np.asarray(part['bias'])
    inputs = np.prod(kernel.shape[:num_inputs], dtype=int)
    tensors[f'{name}.weight'] = kernel.reshape(inputs, -1).T
    tensors[f'{name}.bias'] = bias.reshape(-1)

  def norm(name, part):
    tensors[f'{name}.weight'] = np.asarray(part['scale'])
    tensors[f'{name}.bias'] = np.asarray(part['bias'])

  layers = params['stack']['layers']
  for i in range(len(layers['up']['bias'])):
    layer = jax.tree.map(lambda x, i=i: np.asarray(x[i]), layers)
    prefix = f'esm.encoder.layer.{i}'
    norm(f'{prefix}.attention.LayerNorm', layer['attention_norm'])
    for j, name in enumerate(('query', 'key', 'value')):
      part = jax.tree.map(
        lambda x, j=j: np.split(x, 3, -1)[j], layer['heads_in']
      )
      linear(f'{prefix}.attention.self.{name}', part)
    linear(f'{prefix}.attention.output.dense', layer['heads_out'], 2)
    norm(f'{prefix}.LayerNorm', layer['mlp_norm'])
    linear(f'{prefix}.intermediate.dense', layer['up'])
    linear(f'{prefix}.output.dense', layer['down'])
  norm('esm.encoder.emb_layer_norm_after', params['norm'])
  linear('lm_head.dense', params['projection'])
  norm('lm_head.layer_norm', params['projection_norm'])
  return {name: np.ascontiguousarray(x) for name, x in tensors.items()}
