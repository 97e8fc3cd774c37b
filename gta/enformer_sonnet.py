"""Weights of Enformer by the names of its Sonnet checkpoint.

The checkpoint (gs://dm-enformer/models/enformer/sonnet_weights) is of objects,
whose names TensorFlow knows once it has built the published model around them.
With that model, `numpy.savez(path, **{v.name.removesuffix(':0'): v.numpy() for
v in model.variables})` leaves the file that is read here. The two layers of an
MLP share a name there and would overwrite each other: call them `project_in`
and `project_out` in the published module before.
"""

import pathlib
import zipfile
from collections.abc import Iterator, Mapping

import jax
import numpy as np

from backbone.inference import published
from backbone.inference.published import SAME, Layout, Shape, Tensor
from data_pipelines.errors import InputError
from gta.enformer import Enformer, EnformerConfig

# Counters of moving averages, and these before their bias is corrected.
_UNUSED = r'/(counter|hidden)$'
_OF_HEADS = Layout(
  lambda ours: (1, ours[0], 1, ours[1]), lambda x, ours: x.reshape(ours)
)


def tensors(config: EnformerConfig) -> Iterator[Tensor]:
  """Every array of the model."""
  trunk = 'enformer/trunk'

  def filters(path: tuple, name: str) -> Iterator[Tensor]:
    yield Tensor((*path, 'kernel'), f'{name}/w', SAME)
    yield Tensor((*path, 'bias'), f'{name}/b', SAME)

  def block(path: tuple, name: str) -> Iterator[Tensor]:
    norm = f'{name}/cross_replica_batch_norm'
    for ours, theirs in (
      ('scale', 'scale'),
      ('offset', 'offset'),
      ('mean', 'moving_mean/average'),
      ('variance', 'moving_variance/average'),
    ):
      yield Tensor((*path, ours), f'{norm}/{theirs}', SAME)
    yield from filters((*path, 'convolution'), f'{name}/conv1_d')

  pool, pointwise = 'softmax_pooling/linear/w', 'pointwise_conv_block'
  stem = f'{trunk}/stem'
  yield from filters(('stem',), f'{stem}/conv1_d')
  yield from block(('stem_pointwise',), f'{stem}/{pointwise}')
  yield Tensor(('stem_pool', 'kernel'), f'{stem}/{pool}', SAME)
  for i in range(len(config.tower)):
    path, name = ('tower', i), f'{trunk}/conv_tower/conv_tower_block_{i}'
    yield from block((*path, 'convolution'), f'{name}/conv_block')
    yield from block((*path, 'pointwise'), f'{name}/{pointwise}')
    yield Tensor((*path, 'pool', 'kernel'), f'{name}/{pool}', SAME)
  yield from _of_layers(f'{trunk}/transformer/transformer_block_{{0}}')
  yield from block(('final',), f'{trunk}/final_pointwise/conv_block')
  for species, _ in config.head_sizes:
    path, name = ('heads', species), f'enformer/heads/head_{species}/linear'
    yield Tensor((*path, 'projection', 'kernel'), f'{name}/w', SAME)
    yield Tensor((*path, 'bias'), f'{name}/b', SAME)


def _of_layers(name: str) -> Iterator[Tensor]:
  """Of the transformer, whose layers are stacked in our tree."""
  path = 'transformer', 'layers'
  for ours, theirs in (('attention_norm', 'mha'), ('mlp_norm', 'mlp')):
    norm = f'{name}/{theirs}/layer_norm'
    yield Tensor((*path, ours, 'scale'), f'{norm}/scale', SAME)
    yield Tensor((*path, ours, 'bias'), f'{norm}/offset', SAME)
  mixer, attention = (*path, 'attention'), f'{name}/mha/attention_{{0}}'
  for ours, theirs, num_inputs in (
    ('query', 'q_layer', 1),
    ('key', 'k_layer', 1),
    ('value', 'v_layer', 1),
    ('position', 'r_k_layer', 1),
    ('output', 'embedding_layer', 2),
  ):
    kernel = (*mixer, ours, 'kernel')
    yield Tensor(kernel, f'{attention}/{theirs}/w', _matrix(num_inputs))
  yield Tensor((*mixer, 'output_bias'), f'{attention}/embedding_layer/b', SAME)
  yield Tensor((*mixer, 'content_bias'), f'{attention}/r_w_bias', _OF_HEADS)
  yield Tensor((*mixer, 'position_bias'), f'{attention}/r_r_bias', _OF_HEADS)
  for ours, theirs in (('up', 'project_in'), ('down', 'project_out')):
    yield Tensor((*path, ours, 'kernel'), f'{name}/mlp/{theirs}/w', SAME)
    yield Tensor((*path, f'{ours}_bias'), f'{name}/mlp/{theirs}/b', SAME)


def _matrix(num_inputs: int) -> Layout:
  """[inputs, outputs], where ours has heads on one side."""

  def shape(ours: Shape) -> Shape:
    inputs, outputs = ours[:num_inputs], ours[num_inputs:]
    return int(np.prod(inputs)), int(np.prod(outputs))

  return Layout(shape, lambda x, ours: x.reshape(ours))


def load(
  path: str | pathlib.Path, config: EnformerConfig | None = None
) -> Enformer:
  """The model of an .npz file of variables by name.

  Raises:
    InputError: The file cannot be read, or an array of it is missing, has
      another shape, or is not known.
  """
  try:
    with np.load(path) as file:
      found = {name: file[name] for name in file.files}
  except (OSError, ValueError, AttributeError, zipfile.BadZipFile) as error:
    raise InputError(f'{path}: no .npz of variables ({error})') from error
  return convert(found, config or EnformerConfig(), source=str(path))


def convert(
  found: Mapping[str, np.ndarray], config: EnformerConfig, *, source: str
) -> Enformer:
  """The model with these weights, by the names of Sonnet's variables."""
  # Statistics of batches keep the axes that they were taken over.
  squeezed = {
    name: x.reshape(-1) if x.shape[:-1] == (1, 1) else x
    for name, x in found.items()
  }
  return published.fill(
    lambda: Enformer(config, key=jax.random.key(0)),
    tensors(config),
    squeezed,
    source=source,
    unused=_UNUSED,
  )
