"""Published weights of Llama and GPT-2, and configurations of their folders."""

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import jax

from backbone.inference import published
from backbone.inference.published import SAME, Layout, Tensor, matrix
from data_pipelines.errors import InputError
from gta.language.gpt2 import GPT2, GPT2Config
from gta.language.llama import Llama, LlamaConfig, RopeScaling

# What files hold beside the parameters; layers that are not read.
_UNUSED_OF_LLAMA = r'rotary_emb\.inv_freq$'
_UNUSED_OF_GPT2 = r'\.attn\.(masked_)?bias$|^lm_head\.weight$'
# GPT-2's products have [inputs, outputs].
_PLAIN = Layout(
  lambda ours: (ours[0], _size(ours[1:])), lambda x, ours: x.reshape(ours)
)
_PLAIN_OUT = Layout(
  lambda ours: (_size(ours[:-1]), ours[-1]), lambda x, ours: x.reshape(ours)
)
_FLAT = Layout(lambda ours: (_size(ours),), lambda x, ours: x.reshape(ours))


def _size(shape: tuple[int, ...]) -> int:
  size = 1
  for length in shape:
    size *= length
  return size


def load(
  folder: str | pathlib.Path,
  *,
  num_layers: int | None = None,
  dtype: str = 'float32',
) -> Llama | GPT2:
  """The model of a folder with config.json and weights.

  Args:
    folder: As `huggingface-cli download openai-community/gpt2` leaves it.
    num_layers: The first of them alone; None takes all.
    dtype: Of activations.

  Raises:
    InputError: Another family, or weights that are not what config.json says.
  """
  folder = pathlib.Path(folder)
  config = read_config(folder, num_layers=num_layers, dtype=dtype)
  found = published.read_tensors(folder)
  is_gpt2 = isinstance(config, GPT2Config)
  if is_gpt2:
    found = {k.removeprefix('transformer.'): v for k, v in found.items()}
  # Those of layers that are not wanted.
  skipped = r'(^|\.)(layers|h)\.(' + '|'.join(_skipped(config, folder)) + r')\.'
  unused = _UNUSED_OF_GPT2 if is_gpt2 else _UNUSED_OF_LLAMA
  if not is_gpt2 and config.is_tied:
    unused += r'|^lm_head\.weight$'
  make = GPT2 if is_gpt2 else Llama
  return published.fill(
    lambda: make(config, key=jax.random.key(0)),
    _of_gpt2() if is_gpt2 else _of_llama(config),
    found,
    source=str(folder),
    unused=f'{unused}|{skipped}',
  )


def read_config(
  folder: pathlib.Path, *, num_layers: int | None, dtype: str
) -> LlamaConfig | GPT2Config:
  """What config.json says; InputError if that is no family we have."""
  given = _read_json(folder)
  family = given.get('model_type')
  read = {'llama': _llama, 'gpt2': _gpt2}.get(family)
  if read is None:
    raise InputError(
      f'{folder / "config.json"}: model_type {family!r}; there are llama and '
      'gpt2'
    )
  try:
    return read(given, num_layers, dtype)
  except (KeyError, TypeError, ValueError) as error:
    raise InputError(f'{folder / "config.json"}: {error!r}') from error


def _read_json(folder: pathlib.Path) -> dict[str, Any]:
  file = folder / 'config.json'
  try:
    return json.loads(file.read_text())
  except (OSError, ValueError) as error:
    raise InputError(f'{file}: cannot be read as JSON ({error})') from error


def _skipped(
  config: LlamaConfig | GPT2Config, folder: pathlib.Path
) -> Iterator[str]:
  """Numbers of the file's layers that the model does not have."""
  given = _read_json(folder)
  total = given.get('num_hidden_layers') or given.get('n_layer')
  yield 'none'
  yield from map(str, range(config.num_layers, total))


def _llama(
  given: dict[str, Any], num_layers: int | None, dtype: str
) -> LlamaConfig:
  if given.get('hidden_act', 'silu') != 'silu' or given.get('attention_bias'):
    raise ValueError('hidden_act must be silu, and attention without biases')
  heads = given['num_attention_heads']
  # One object since version 5 of transformers.
  rope = given.get('rope_parameters') or given
  if 'rope_theta' not in rope:
    raise ValueError('no rope_theta')
  return LlamaConfig(
    num_layers=min(num_layers or 10**9, given['num_hidden_layers']),
    width=given['hidden_size'],
    num_heads=heads,
    num_groups=given.get('num_key_value_heads') or heads,
    hidden=given['intermediate_size'],
    vocabulary=given['vocab_size'],
    head_width=given.get('head_dim'),
    rope_base=float(rope['rope_theta']),
    rope_scaling=_scaling(
      given.get('rope_parameters') or given.get('rope_scaling')
    ),
    epsilon=given['rms_norm_eps'],
    is_tied=bool(given.get('tie_word_embeddings')),
    dtype=dtype,
  )


def _scaling(given: dict[str, Any] | None) -> RopeScaling | None:
  if given is None:
    return None
  kind = given.get('rope_type', given.get('type'))
  if kind == 'default':
    return None
  if kind != 'llama3':
    raise ValueError(f'rope_scaling {kind!r}; there is llama3')
  return RopeScaling(
    factor=given['factor'],
    low_frequency=given['low_freq_factor'],
    high_frequency=given['high_freq_factor'],
    context=given['original_max_position_embeddings'],
  )


def _gpt2(
  given: dict[str, Any], num_layers: int | None, dtype: str
) -> GPT2Config:
  inner = given.get('n_inner') or 4 * given['n_embd']
  if inner != 4 * given['n_embd'] or given['activation_function'] != 'gelu_new':
    raise ValueError('n_inner must be 4 n_embd, activation_function gelu_new')
  return GPT2Config(
    num_layers=min(num_layers or 10**9, given['n_layer']),
    width=given['n_embd'],
    num_heads=given['n_head'],
    vocabulary=given['vocab_size'],
    context=given['n_positions'],
    dtype=dtype,
  )


def _of_llama(config: LlamaConfig) -> Iterator[Tensor]:
  yield Tensor(('table',), 'model.embed_tokens.weight', SAME)
  yield Tensor(('norm', 'scale'), 'model.norm.weight', SAME)
  if not config.is_tied:
    yield Tensor(('head', 'kernel'), 'lm_head.weight', matrix(1))
  path, name = ('stack', 'layers'), 'model.layers.{}'
  for ours, theirs, num_inputs in (
    (('query_heads_in',), 'self_attn.q_proj', 1),
    (('key_heads_in',), 'self_attn.k_proj', 1),
    (('value_heads_in',), 'self_attn.v_proj', 1),
    (('heads_out',), 'self_attn.o_proj', 2),
    (('mlp', 'gate'), 'mlp.gate_proj', 1),
    (('mlp', 'up'), 'mlp.up_proj', 1),
    (('mlp', 'down'), 'mlp.down_proj', 1),
  ):
    kernel = (*path, *ours, 'kernel')
    yield Tensor(kernel, f'{name}.{theirs}.weight', matrix(num_inputs))
  for ours, theirs in (
    ('attention_norm', 'input_layernorm'),
    ('mlp_norm', 'post_attention_layernorm'),
  ):
    yield Tensor((*path, ours, 'scale'), f'{name}.{theirs}.weight', SAME)


def _of_gpt2() -> Iterator[Tensor]:
  yield Tensor(('table',), 'wte.weight', SAME)
  yield Tensor(('position_table',), 'wpe.weight', SAME)
  yield Tensor(('norm', 'scale'), 'ln_f.weight', SAME)
  yield Tensor(('norm', 'bias'), 'ln_f.bias', SAME)
  path, name = ('stack', 'layers'), 'h.{}'
  for ours, theirs in (('attention_norm', 'ln_1'), ('mlp_norm', 'ln_2')):
    yield Tensor((*path, ours, 'scale'), f'{name}.{theirs}.weight', SAME)
    yield Tensor((*path, ours, 'bias'), f'{name}.{theirs}.bias', SAME)
  for ours, theirs, layout in (
    ('heads_in', 'attn.c_attn', _PLAIN),
    ('heads_out', 'attn.c_proj', _PLAIN_OUT),
    ('up', 'mlp.c_fc', _PLAIN),
    ('down', 'mlp.c_proj', _PLAIN),
  ):
    yield Tensor((*path, ours, 'kernel'), f'{name}.{theirs}.weight', layout)
    yield Tensor((*path, f'{ours}_bias'), f'{name}.{theirs}.bias', _FLAT)
