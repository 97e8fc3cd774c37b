"""What later tokens see of a prompt, computed once for each gene.

Prompts come first in a causal model and depend on nothing that is trained, so
that their keys, values and states are the same in every step of every run.
"""

import dataclasses
import functools
import hashlib
import os
import pathlib

import jax
import numpy as np
from jaxtyping import Bool, Int
from tqdm import tqdm

from backbone.array_types import PyTree
from backbone.train.state import parameters_sha256
from data_pipelines.errors import InputError
from gta.language.frozen import Frozen

_ROWS = 64
_NAMES = ('prompt_past', 'prompt_states')


@dataclasses.dataclass(frozen=True)
class PromptCache:
  """Reads prompts with a language model and keeps what it made of them.

  Attributes:
    language: The model.
    folder: Where they are kept, in two files for each model and set of prompts
      (8 L G K and 4 D bytes a token); '' keeps them in memory.
  """

  language: Frozen
  folder: str = ''

  def __call__(
    self, tokens: Int[np.ndarray, 'n P'], is_token: Bool[np.ndarray, 'n P']
  ) -> dict[str, np.ndarray]:
    """Of prompts, 'prompt_past' and 'prompt_states'.

    Returns:
      Keys and values [n, 2, L, P, G, K], and vectors [n, P, D] after the last
      norm.

    Raises:
      InputError: A token is not in the vocabulary of the language model.
    """
    number = len(self._params['table'])
    if tokens.max(initial=0) >= number:
      raise InputError(
        f'{self.language.weights}: has {number:,} words, the tokenizer of the '
        f'prompts gives {tokens.max():,}; give the tokenizer of that model'
      )
    if not self.folder:
      parts = zip(*self._read(tokens, is_token), strict=True)
      return dict(zip(_NAMES, map(np.concatenate, parts), strict=True))
    # Of the weights, not of where they lie: a file may be replaced.
    model = parameters_sha256(self._params), self.language.dtype, tokens.shape
    text = repr(model).encode()
    digest = hashlib.sha256(text + tokens.tobytes() + is_token.tobytes())
    stem = digest.hexdigest()[:32]
    folder = pathlib.Path(self.folder)
    paths = {name: folder / f'{stem}-{name}.npy' for name in _NAMES}
    if not all(path.exists() for path in paths.values()):
      folder.mkdir(parents=True, exist_ok=True)
      self._write(list(paths.values()), tokens, is_token)
    return {name: np.load(path, mmap_mode='r') for name, path in paths.items()}

  @functools.cached_property
  def _params(self) -> PyTree:
    return self.language.init()

  def _write(self, paths, tokens, is_token) -> None:
    # Another run may be at the same prompts.
    asides = [path.with_suffix(f'.{os.getpid()}.tmp') for path in paths]
    files, at = None, 0
    for parts in self._read(tokens, is_token):
      if files is None:
        files = [
          np.lib.format.open_memmap(
            aside, 'w+', np.float32, (len(tokens), *part.shape[1:])
          )
          for aside, part in zip(asides, parts, strict=True)
        ]
      for file, part in zip(files, parts, strict=True):
        file[at : at + len(part)] = part
      at += len(parts[0])
    for file, aside, path in zip(files, asides, paths, strict=True):
      file.flush()
      aside.replace(path)

  def _read(self, tokens, is_token):
    @jax.jit
    def read(params, tokens, is_token):
      model = self.language.merge(params)
      states, past = model(model.embed(tokens), is_token)
      kept = jax.numpy.stack([past.keys, past.values])
      kept = jax.numpy.moveaxis(kept, 2, 0)
      return kept.astype('float32'), states.astype('float32')

    for first in tqdm(
      range(0, len(tokens), _ROWS), desc='prompts', disable=None
    ):
      rows = slice(first, first + _ROWS)
      filled = _ROWS - len(tokens[rows])
      given = [
        np.pad(array[rows], ((0, filled), (0, 0)))
        for array in (tokens, is_token)
      ]
      made = read(self._params, *given)
      yield tuple(np.asarray(array)[: _ROWS - filled] for array in made)
