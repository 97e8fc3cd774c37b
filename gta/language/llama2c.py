"""Small models and vocabularies in the format of llama2.c.

A header of seven int32 (width, hidden, layers, heads, groups, tokens, context),
then float32 weights, matrices as [outputs, inputs].
"""

import dataclasses
import functools
import itertools
import pathlib
import re
import struct
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Int

from data_pipelines.errors import InputError
from gta.language.llama import Llama, LlamaConfig

START, END = 1, 2
_NUM_SPECIAL = 3
_HEADER = struct.Struct('7i')
_OF_LAYERS = (
  *('attention_norm', 'query_heads_in', 'key_heads_in', 'value_heads_in'),
  *('heads_out', 'mlp_norm', 'gate', 'down', 'up'),
)
# No piece goes on behind a blank, so that words are joined apart.
_WORD = re.compile(r' ?[^ ]+| ')


def load(
  path: str | pathlib.Path,
  *,
  num_layers: int | None = None,
  dtype: str = 'float32',
) -> Llama:
  """The model of a file.

  Args:
    path: The file.
    num_layers: The first of them alone; None is all.
    dtype: Of activations.

  Raises:
    InputError: The file is missing, or not of the size that its header says.
  """
  path = pathlib.Path(path)
  content = _content(path)
  if len(content) < _HEADER.size:
    raise InputError(f'{path}: {len(content)} bytes are no llama2.c model')
  width, hidden, layers, heads, groups, tokens, context = _HEADER.unpack_from(
    content
  )
  try:
    config = LlamaConfig(
      num_layers=layers,
      width=width,
      num_heads=heads,
      num_groups=groups,
      hidden=hidden,
      # A vocabulary below zero says that scores have weights of their own.
      vocabulary=abs(tokens),
      rope_base=10_000.0,
      is_tied=tokens > 0,
      remat='block',
    )
  except (ValueError, ZeroDivisionError) as error:
    raise InputError(f'{path}: {error}; is it a llama2.c model?') from error
  shapes = _shapes(config, context)
  # A file that was cut within a number has no whole one behind it.
  whole = (len(content) - _HEADER.size) // 4
  numbers = np.frombuffer(content, np.float32, whole, offset=_HEADER.size)
  wanted = sum(int(np.prod(shape)) for shape in shapes.values())
  if numbers.size != wanted:
    raise InputError(
      f'{path}: {numbers.size} weights, its header says {wanted}; fetch the '
      'file again'
    )
  arrays, start = {}, 0
  for name, shape in shapes.items():
    size = int(np.prod(shape))
    arrays[name] = numbers[start : start + size].reshape(shape)
    start += size
  kept = min(num_layers or layers, layers)
  arrays = {
    name: array[:kept] if name in _OF_LAYERS else array
    for name, array in arrays.items()
  }
  config = dataclasses.replace(config, num_layers=kept, dtype=dtype)
  return _model(config, arrays)


def _shapes(config: LlamaConfig, context: int) -> dict[str, tuple[int, ...]]:
  """Of the arrays of a file, in their order there."""
  layers, width, hidden = config.num_layers, config.width, config.hidden
  heads, groups, keys = config.num_heads, config.num_groups, config.key_width
  shapes = {
    'table': (config.vocabulary, width),
    'attention_norm': (layers, width),
    'query_heads_in': (layers, heads * keys, width),
    'key_heads_in': (layers, groups * keys, width),
    'value_heads_in': (layers, groups * keys, width),
    'heads_out': (layers, width, heads * keys),
    'mlp_norm': (layers, width),
    'gate': (layers, hidden, width),
    'down': (layers, width, hidden),
    'up': (layers, hidden, width),
    'norm': (width,),
    # Angles, which are computed here.
    'cosine': (context, keys // 2),
    'sine': (context, keys // 2),
  }
  if not config.is_tied:
    shapes['head'] = (config.vocabulary, width)
  return shapes


def _model(config: LlamaConfig, arrays: dict[str, np.ndarray]) -> Llama:
  keys, width = config.key_width, config.width

  def matrix(name: str, *shape: int) -> dict[str, np.ndarray]:
    turned = arrays[name].transpose(0, 2, 1)
    return {'kernel': turned.reshape(config.num_layers, *shape)}

  def heads_in(name: str, number: int) -> dict[str, np.ndarray]:
    return matrix(name, width, number, keys)

  def rotated(name: str, number: int) -> dict[str, np.ndarray]:
    """Channels that turn together are neighbours there, halves here."""
    kernel = heads_in(name, number)['kernel']
    halves = np.concatenate([kernel[..., ::2], kernel[..., 1::2]], axis=-1)
    return {'kernel': halves}

  layers = {
    'attention_norm': {'scale': arrays['attention_norm']},
    'query_heads_in': rotated('query_heads_in', config.num_heads),
    'key_heads_in': rotated('key_heads_in', config.num_groups),
    'value_heads_in': heads_in('value_heads_in', config.num_groups),
    'heads_out': matrix('heads_out', config.num_heads, keys, width),
    'mlp_norm': {'scale': arrays['mlp_norm']},
    'mlp': {
      'gate': matrix('gate', width, config.hidden),
      'up': matrix('up', width, config.hidden),
      'down': matrix('down', config.hidden, width),
    },
  }
  parameters = {
    'table': arrays['table'],
    'norm': {'scale': arrays['norm']},
    'stack': {'layers': layers},
  }
  if not config.is_tied:
    parameters['head'] = {'kernel': arrays['head'].T}
  graph, state = nnx.split(
    nnx.eval_shape(lambda: Llama(config, key=jax.random.key(0)))
  )
  nnx.replace_by_pure_dict(state, parameters)
  return nnx.merge(graph, state)


class Vocabulary:
  """Pieces of text with scores; the pair of the best score is joined first."""

  def __init__(self, path: str | pathlib.Path):
    """Reads a file of: longest piece; then score, length, bytes of each.

    Raises:
      InputError: The file is missing or cut off.
    """
    path = pathlib.Path(path)
    content = _content(path)
    self.pieces: list[bytes] = []
    self._scores: list[float] = []
    at = 4
    while at < len(content):
      if at + 8 > len(content):
        raise InputError(f'{path}: ends within a piece; fetch it again')
      score, size = struct.unpack_from('fi', content, at)
      at += 8
      if size < 0 or at + size > len(content):
        raise InputError(f'{path}: ends within a piece; fetch it again')
      self.pieces.append(content[at : at + size])
      self._scores.append(score)
      at += size
    self._number = {piece: i for i, piece in enumerate(self.pieces)}
    self._joined = functools.cache(self._join)

  def encode(self, text: str) -> list[int]:
    """Tokens of a text, the start before it."""
    words = _WORD.findall(' ' + text if text else '')
    return [START, *(token for word in words for token in self._joined(word))]

  def _join(self, word: str) -> list[int]:
    tokens = []
    for letter in word:
      piece = letter.encode()
      # An unknown letter is its bytes, which come after the special tokens.
      tokens += (
        [self._number[piece]]
        if piece in self._number
        else [byte + _NUM_SPECIAL for byte in piece]
      )
    while True:
      joined = [
        self._number.get(self.pieces[a] + self.pieces[b])
        for a, b in itertools.pairwise(tokens)
      ]
      known = [i for i, token in enumerate(joined) if token is not None]
      if not known:
        return tokens
      best = max(known, key=lambda i: (self._scores[joined[i]], -i))
      tokens[best : best + 2] = [joined[best]]

  def decode(self, tokens: Sequence[int]) -> str:
    """The text of tokens; the start and the blank behind it are none."""
    found = b''
    for before, token in zip([0, *tokens], tokens, strict=False):
      piece = self.pieces[token]
      if token in (START, END):
        continue
      if piece.startswith(b'<0x') and piece.endswith(b'>'):
        piece = bytes([int(piece[3:5], 16)])
      found += piece.removeprefix(b' ') if before == START else piece
    return found.decode(errors='replace')


def greedy(
  model: Llama, start: Sequence[int], num_tokens: int
) -> Int[np.ndarray, '_']:
  """The likeliest tokens, one after another, those given first."""
  graph, state = nnx.split(model)

  @jax.jit
  def following(state, tokens, is_token):
    decoder = nnx.merge(graph, state)
    hidden, _ = decoder(decoder.embed(tokens), is_token)
    return decoder.scores(hidden).argmax(-1)

  tokens = np.zeros((1, len(start) + num_tokens), np.int32)
  tokens[0, : len(start)] = start
  for at in range(len(start), tokens.shape[1]):
    is_token = jnp.arange(tokens.shape[1])[None] < at
    tokens[0, at] = following(state, jnp.asarray(tokens), is_token)[0, at - 1]
  return tokens[0]


def _content(path: pathlib.Path) -> bytes:
  try:
    return path.read_bytes()
  except OSError as error:
    raise InputError(f'{path}: cannot be read ({error})') from error
