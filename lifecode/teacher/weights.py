"""Public ESM-2 weights, as Hugging Face publishes them, in our model."""

import json
import pathlib
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors import SafetensorError
from safetensors.numpy import load_file

from data_pipelines.errors import InputError
from lifecode.teacher.esm2 import ESM2, VOCABULARY, ESM2Config

# A model is one of these; in parts, `<name>.index.json` lists them.
_FILES = ('model.safetensors', 'pytorch_model.bin')
# Beside the encoder and its head: contacts, positions that rotary ones
# replaced, constants, and the table once more as the head's.
_UNUSED = (
  'esm.contact_head.',
  'esm.embeddings.position_embeddings.',
  'esm.embeddings.position_ids',
  'esm.pooler.',
  'lm_head.decoder.',
)
_UNUSED_ENDS = ('.inv_freq',)


def load(path: str | pathlib.Path, **changes: Any) -> ESM2:
  """The model of a folder with config.json and weights.

  Args:
    path: As `huggingface-cli download facebook/esm2_t6_8M_UR50D` leaves it.
    **changes: Of `ESM2Config`, as dtype='bfloat16'.

  Raises:
    InputError: Not ESM-2, or the weights are not of the size that config.json
      says; files that are missing, incomplete or damaged.
  """
  folder = pathlib.Path(path)
  config = read_config(folder, **changes)
  return convert(_read_tensors(folder), config, source=str(folder))


def read_config(folder: pathlib.Path, **changes: Any) -> ESM2Config:
  """What config.json says; InputError if that is no ESM-2."""
  file = folder / 'config.json'
  try:
    published = json.loads(file.read_text())
  except (OSError, ValueError) as error:
    raise InputError(f'{file}: cannot be read as JSON ({error})') from error
  width = published.get('hidden_size')
  expected = {
    'model_type': 'esm',
    'position_embedding_type': 'rotary',
    'vocab_size': len(VOCABULARY),
    'intermediate_size': 4 * width if isinstance(width, int) else None,
    'emb_layer_norm_before': False,
    'token_dropout': True,
    'layer_norm_eps': 1e-5,
  }
  for name, value in expected.items():
    found = published.get(name)
    if found != value and not (value is False and found is None):
      raise InputError(f'{file}: {name} is {found!r}, of ESM-2 it is {value!r}')
  sizes = {
    'num_layers': published.get('num_hidden_layers'),
    'width': width,
    'num_heads': published.get('num_attention_heads'),
  }
  for name, size in sizes.items():
    if not isinstance(size, int) or size < 1:
      raise InputError(f'{file}: no {name} ({size!r})')
  try:
    return ESM2Config(**sizes, **changes)
  except ValueError as error:
    raise InputError(f'{file}: {error}') from error


def convert(
  tensors: Mapping[str, np.ndarray], config: ESM2Config, *, source: str
) -> ESM2:
  """The model with these weights, by their names in the public files.

  Args:
    source: For messages.

  Raises:
    InputError: A tensor is missing, has another shape, or is not known.
  """
  names = _names(config)
  for name, tensor in tensors.items():
    is_unused = name.startswith(_UNUSED) or name.endswith(_UNUSED_ENDS)
    if name not in names and not is_unused:
      raise InputError(
        f'{source}: {name} {tensor.shape} is not in ESM-2 of '
        f'{config.num_layers} layers'
      )
  for name, shape in names.items():
    if name not in tensors:
      raise InputError(f'{source}: {name} is missing')
    if tensors[name].shape != shape:
      raise InputError(
        f'{source}: {name} is {tensors[name].shape}, in ESM-2 of width '
        f'{config.width} it is {shape}'
      )
  model = nnx.eval_shape(lambda: ESM2(config, key=jax.random.key(0)))
  graph, state = nnx.split(model)
  nnx.replace_by_pure_dict(state, _parameters(tensors, config))
  return nnx.merge(graph, state)


def _names(config: ESM2Config) -> dict[str, tuple[int, ...]]:
  """The shape of every tensor that is read, by name."""
  width, vocab = config.width, len(VOCABULARY)
  shapes = {
    'esm.embeddings.word_embeddings.weight': (vocab, width),
    'lm_head.bias': (vocab,),
  }

  def linear(name, inputs, outputs):
    shapes[f'{name}.weight'] = (outputs, inputs)
    shapes[f'{name}.bias'] = (outputs,)

  def norm(name):
    shapes[f'{name}.weight'] = shapes[f'{name}.bias'] = (width,)

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
  return shapes


def _parameters(tensors, config: ESM2Config) -> dict[str, Any]:
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


def _read_tensors(folder: pathlib.Path) -> dict[str, np.ndarray]:
  readers = dict(zip(_FILES, (load_file, _load_pickled), strict=True))
  for name, read in readers.items():
    if (folder / name).exists():
      return _read(read, folder / name)
    index = folder / f'{name}.index.json'
    if index.exists():
      try:
        parts = set(json.loads(index.read_text())['weight_map'].values())
      except (ValueError, KeyError, AttributeError) as error:
        raise InputError(f'{index}: no weight_map ({error!r})') from error
      tensors = {}
      for part in sorted(parts):
        tensors |= _read(read, folder / part)
      return tensors
  raise InputError(f'{folder}: no {" and no ".join(_FILES)}')


def _read(read: Callable, file: pathlib.Path) -> dict[str, np.ndarray]:
  if not file.exists():
    raise InputError(f'{file}: missing, though its index names it')
  try:
    return read(file)
  except (
    SafetensorError,
    OSError,
    EOFError,
    RuntimeError,
    pickle.UnpicklingError,
  ) as error:
    raise InputError(f'{file}: cannot be read ({error})') from error


def _load_pickled(file: pathlib.Path) -> dict[str, np.ndarray]:
  try:
    import torch
  except ImportError as error:
    raise InputError(
      f"{file}: needs torch: pip install 'multiomics-jax[parity]', or put "
      f'{_FILES[0]} there'
    ) from error
  tensors = torch.load(file, map_location='cpu', weights_only=True)
  return {name: tensor.float().numpy() for name, tensor in tensors.items()}
