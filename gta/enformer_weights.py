"""Public weights of Enformer, by the names of torch's file and of Sonnet's."""

import pathlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from backbone.inference import published
from data_pipelines.errors import InputError
from gta.enformer import Enformer, EnformerConfig

Shape = tuple[int, ...]
# The same arrays once more, and counters.
_UNUSED = re.compile(r'^_trunk\.|num_batches_tracked$')


class Layout(NamedTuple):
  """How an array stands in a file.

  Attributes:
    shape: Of our shape, the file's.
    read: Of the file's array and our shape, ours.
  """

  shape: Callable[[Shape], Shape]
  read: Callable[[np.ndarray, Shape], np.ndarray]


def _matrix(num_inputs: int) -> Layout:
  """[outputs, inputs]; ours has `num_inputs` axes of inputs, then outputs."""

  def shape(ours: Shape) -> Shape:
    inputs, outputs = ours[:num_inputs], ours[num_inputs:]
    return int(np.prod(outputs)), int(np.prod(inputs))

  return Layout(shape, lambda x, ours: x.T.reshape(ours))


SAME = Layout(lambda ours: ours, lambda x, ours: x)
_CONVOLUTION = Layout(lambda ours: ours[::-1], lambda x, ours: x.transpose())
_POOL = Layout(
  lambda ours: (*ours[::-1], 1, 1), lambda x, ours: x[:, :, 0, 0].T
)
_OF_HEADS = Layout(
  lambda ours: (1, ours[0], 1, ours[1]), lambda x, ours: x.reshape(ours)
)


class Tensor(NamedTuple):
  """Where an array stands in our tree and in the torch file.

  Attributes:
    path: In our tree.
    name: In the file; of a stacked array that of each layer, by '{}'.
    layout: In the file.
  """

  path: tuple[str | int, ...]
  name: str
  layout: Layout


def tensors(config: EnformerConfig) -> Iterator[Tensor]:
  """Every array of the model."""

  def block(path: tuple, name: str, norm: str, convolution: str):
    for ours, theirs in (
      ('scale', 'weight'),
      ('offset', 'bias'),
      ('mean', 'running_mean'),
      ('variance', 'running_var'),
    ):
      yield Tensor((*path, ours), f'{name}.{norm}.{theirs}', SAME)
    yield from filters((*path, 'convolution'), f'{name}.{convolution}')

  def filters(path: tuple, name: str):
    yield Tensor((*path, 'kernel'), f'{name}.weight', _CONVOLUTION)
    yield Tensor((*path, 'bias'), f'{name}.bias', SAME)

  yield from filters(('stem',), 'stem.0')
  yield from block(('stem_pointwise',), 'stem.1.fn', '0', '2')
  pool = 'to_attn_logits.weight'
  yield Tensor(('stem_pool', 'kernel'), f'stem.2.{pool}', _POOL)
  for i in range(len(config.tower)):
    path, name = ('tower', i), f'conv_tower.{i}'
    yield from block((*path, 'convolution'), f'{name}.0', '0', '2')
    yield from block((*path, 'pointwise'), f'{name}.1.fn', '0', '2')
    yield Tensor((*path, 'pool', 'kernel'), f'{name}.2.{pool}', _POOL)
  yield from _of_layers()
  yield from block(('final',), 'final_pointwise.1', '0', '2')
  for species, _ in config.head_sizes:
    path, name = ('heads', species), f'_heads.{species}.0'
    kernel = (*path, 'projection', 'kernel')
    yield Tensor(kernel, f'{name}.weight', _matrix(1))
    yield Tensor((*path, 'bias'), f'{name}.bias', SAME)


def _of_layers() -> Iterator[Tensor]:
  """Of the transformer, whose layers are stacked in our tree."""
  path, name = ('transformer', 'layers'), 'transformer.{}'
  for ours, theirs in (('attention_norm', '0.fn.0'), ('mlp_norm', '1.fn.0')):
    yield Tensor((*path, ours, 'scale'), f'{name}.{theirs}.weight', SAME)
    yield Tensor((*path, ours, 'bias'), f'{name}.{theirs}.bias', SAME)
  mixer, attention = (*path, 'attention'), f'{name}.0.fn.1'
  for ours, theirs, num_inputs in (
    ('query', 'to_q', 1),
    ('key', 'to_k', 1),
    ('value', 'to_v', 1),
    ('position', 'to_rel_k', 1),
    ('output', 'to_out', 2),
  ):
    kernel = (*mixer, ours, 'kernel')
    yield Tensor(kernel, f'{attention}.{theirs}.weight', _matrix(num_inputs))
  yield Tensor((*mixer, 'output_bias'), f'{attention}.to_out.bias', SAME)
  content, position = 'rel_content_bias', 'rel_pos_bias'
  yield Tensor((*mixer, 'content_bias'), f'{attention}.{content}', _OF_HEADS)
  yield Tensor((*mixer, 'position_bias'), f'{attention}.{position}', _OF_HEADS)
  for ours, theirs in (('up', '1.fn.1'), ('down', '1.fn.4')):
    yield Tensor((*path, ours, 'kernel'), f'{name}.{theirs}.weight', _matrix(1))
    yield Tensor((*path, f'{ours}_bias'), f'{name}.{theirs}.bias', SAME)


def load(
  folder: str | pathlib.Path, config: EnformerConfig | None = None
) -> Enformer:
  """The model of a folder with pytorch_model.bin or model.safetensors.

  As `huggingface-cli download EleutherAI/enformer-official-rough` leaves it
  (CC-BY-4.0; other repositories of that name are other trainings).

  Raises:
    InputError: A tensor is missing, has another shape, or is not known.
  """
  found = published.read_tensors(pathlib.Path(folder))
  return convert(found, config or EnformerConfig(), source=str(folder))


def convert(
  found: Mapping[str, np.ndarray], config: EnformerConfig, *, source: str
) -> Enformer:
  """The model with these weights, by their names in the torch file."""
  model = nnx.eval_shape(lambda: Enformer(config, key=jax.random.key(0)))
  graph, state = nnx.split(model)
  parameters = nnx.to_pure_dict(state)
  known = set()
  for tensor in tensors(config):
    *parents, last = tensor.path
    place: Any = parameters
    for part in parents:
      place = place[part]
    place[last] = _read(found, tensor, place[last].shape, source, known)
  unknown = [n for n in found if n not in known and not _UNUSED.search(n)]
  if unknown:
    raise InputError(f'{source}: {unknown[0]} is not in Enformer of this size')
  nnx.replace_by_pure_dict(state, parameters)
  return nnx.merge(graph, state)


def _read(
  found: Mapping[str, np.ndarray],
  tensor: Tensor,
  shape: Shape,
  source: str,
  known: set[str],
) -> np.ndarray:
  """In our layout; of a stacked one all layers."""
  if '{}' not in tensor.name:
    return _read_one(found, tensor.name, tensor.layout, shape, source, known)
  layers = [
    _read_one(
      found, tensor.name.format(i), tensor.layout, shape[1:], source, known
    )
    for i in range(shape[0])
  ]
  return np.stack(layers)


def _read_one(
  found: Mapping[str, np.ndarray],
  name: str,
  layout: Layout,
  shape: Shape,
  source: str,
  known: set[str],
) -> np.ndarray:
  if name not in found:
    raise InputError(f'{source}: {name} is missing')
  known.add(name)
  wanted = layout.shape(shape)
  if found[name].shape != wanted:
    raise InputError(
      f'{source}: {name} is {found[name].shape}, in Enformer of this size it '
      f'is {wanted}'
    )
  return np.ascontiguousarray(layout.read(found[name], shape), np.float32)
