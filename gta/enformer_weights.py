"""Public weights of Enformer, by the names of torch's file."""

import pathlib
from collections.abc import Iterator, Mapping

import jax
import numpy as np

from backbone.inference import published
from backbone.inference.published import SAME, Layout, Tensor, matrix
from gta.enformer import Enformer, EnformerConfig

# The same arrays once more, and counters.
_UNUSED = r'^_trunk\.|num_batches_tracked$'
_CONVOLUTION = Layout(lambda ours: ours[::-1], lambda x, ours: x.transpose())
_POOL = Layout(
  lambda ours: (*ours[::-1], 1, 1), lambda x, ours: x[:, :, 0, 0].T
)
_OF_HEADS = Layout(
  lambda ours: (1, ours[0], 1, ours[1]), lambda x, ours: x.reshape(ours)
)


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
    yield Tensor(kernel, f'{name}.weight', matrix(1))
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
    yield Tensor(kernel, f'{attention}.{theirs}.weight', matrix(num_inputs))
  yield Tensor((*mixer, 'output_bias'), f'{attention}.to_out.bias', SAME)
  content, position = 'rel_content_bias', 'rel_pos_bias'
  yield Tensor((*mixer, 'content_bias'), f'{attention}.{content}', _OF_HEADS)
  yield Tensor((*mixer, 'position_bias'), f'{attention}.{position}', _OF_HEADS)
  for ours, theirs in (('up', '1.fn.1'), ('down', '1.fn.4')):
    yield Tensor((*path, ours, 'kernel'), f'{name}.{theirs}.weight', matrix(1))
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
  return published.fill(
    lambda: Enformer(config, key=jax.random.key(0)),
    tensors(config),
    found,
    source=source,
    unused=_UNUSED,
  )
