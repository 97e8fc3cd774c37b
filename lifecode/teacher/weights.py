"""ESM-2 weights as Hugging Face publishes them: read into our model, saved."""

import json
import os
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx
from safetensors.numpy import save_file

from backbone.array_types import PyTree
from backbone.inference import published
from data_pipelines.errors import InputError
from lifecode.teacher.esm2 import ESM2, MASK, PAD, VOCABULARY, ESM2Config
from lifecode.teacher.tensors import shapes, to_parameters, to_tensors

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
# In the config.json of a model of ours, which stands in for a published one.
_STAND_IN = 'stand_in'


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
  return convert(published.read_tensors(folder), config, source=str(folder))


def read_config(folder: pathlib.Path, **changes: Any) -> ESM2Config:
  """What config.json says; InputError if that is no ESM-2."""
  file = folder / 'config.json'
  given = _read_json(file)
  width = given.get('hidden_size')
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
    found = given.get(name)
    if found != value and not (value is False and found is None):
      raise InputError(f'{file}: {name} is {found!r}, of ESM-2 it is {value!r}')
  sizes = {
    'num_layers': given.get('num_hidden_layers'),
    'width': width,
    'num_heads': given.get('num_attention_heads'),
  }
  for name, size in sizes.items():
    if not isinstance(size, int) or size < 1:
      raise InputError(f'{file}: no {name} ({size!r})')
  try:
    return ESM2Config(**sizes, **changes)
  except ValueError as error:
    raise InputError(f'{file}: {error}') from error


def read_label(folder: pathlib.Path) -> str:
  """What the model is, for tables: a stand-in of ours is said to be one."""
  config = read_config(folder)
  model = nnx.eval_shape(lambda: ESM2(config, key=jax.random.key(0)))
  size = sum(x.size for x in jax.tree.leaves(nnx.state(model)))
  if _read_json(folder / 'config.json').get(_STAND_IN):
    return f'stand-in protein LM (ours, {size:,} parameters)'
  return f'ESM-2 ({size:,} parameters)'


def save(
  params: PyTree, path: str | pathlib.Path, *, is_stand_in: bool
) -> None:
  """Writes a folder that `load` reads, and transformers as well.

  Args:
    params: Nested dict of the parameters of an `ESM2`.
    path: A folder that does not exist yet; written aside and renamed.
    is_stand_in: Whether it is a model of ours, not a published one.

  Raises:
    InputError: The folder exists.
  """
  folder = pathlib.Path(path)
  if folder.exists():
    raise InputError(f'{folder}: exists already; give another folder')
  kernel = params['stack']['layers']['heads_in']['kernel']
  num_layers, width, num_heads, _ = kernel.shape
  config = {
    'model_type': 'esm',
    'architectures': ['EsmForMaskedLM'],
    'vocab_size': len(VOCABULARY),
    'mask_token_id': MASK,
    'pad_token_id': PAD,
    'num_hidden_layers': num_layers,
    'hidden_size': width,
    'num_attention_heads': num_heads,
    'intermediate_size': 4 * width,
    'position_embedding_type': 'rotary',
    'max_position_embeddings': 1_026,
    'emb_layer_norm_before': False,
    'token_dropout': True,
    'layer_norm_eps': 1e-5,
    'hidden_dropout_prob': 0.0,
    'attention_probs_dropout_prob': 0.0,
    _STAND_IN: is_stand_in,
  }
  folder.parent.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(
    prefix=f'.{folder.name}.', dir=folder.parent
  ) as aside:
    made = pathlib.Path(aside) / 'made'
    made.mkdir()
    (made / 'config.json').write_text(json.dumps(config, indent=1) + '\n')
    save_file(
      to_tensors(params),
      made / published.FILES[0],
      metadata={'format': 'pt'},
    )
    os.rename(made, folder)


def convert(
  tensors: Mapping[str, np.ndarray], config: ESM2Config, *, source: str
) -> ESM2:
  """The model with these weights, by their names in the public files.

  Args:
    source: For messages.

  Raises:
    InputError: A tensor is missing, has another shape, or is not known.
  """
  names = shapes(config)
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
  nnx.replace_by_pure_dict(state, to_parameters(tensors, config))
  return nnx.merge(graph, state)


def _read_json(file: pathlib.Path) -> dict[str, Any]:
  try:
    return json.loads(file.read_text())
  except (OSError, ValueError) as error:
    raise InputError(f'{file}: cannot be read as JSON ({error})') from error
