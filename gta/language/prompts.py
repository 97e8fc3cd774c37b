"""What later tokens see of a prompt, computed once for each gene.

Prompts come first in a causal model and depend on nothing that is trained, so
that their keys and values are the same in every step of every run.
"""

import dataclasses
import functools
import hashlib
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


@dataclasses.dataclass(frozen=True)
class PromptCache:
  """Reads prompts with a language model and keeps what it saw.

  Attributes:
    language: The model.
    folder: Where keys and values are kept, in a file for each model and set of
      prompts (8 L G K bytes a token); '' keeps them in memory.
  """

  language: Frozen
  folder: str = ''

  def __call__(
    self, tokens: Int[np.ndarray, 'n P'], is_token: Bool[np.ndarray, 'n P']
  ) -> dict[str, np.ndarray]:
    """Keys and values [n, 2, L, P, G, K] of prompts, as 'prompt_past'.

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
      return {'prompt_past': np.concatenate([*self._read(tokens, is_token)])}
    # Of the weights, not of where they lie: a file may be replaced.
    model = parameters_sha256(self._params), self.language.dtype, tokens.shape
    text = repr(model).encode()
    digest = hashlib.sha256(text + tokens.tobytes() + is_token.tobytes())
    path = pathlib.Path(self.folder) / f'{digest.hexdigest()[:32]}.npy'
    if not path.exists():
      path.parent.mkdir(parents=True, exist_ok=True)
      self._write(path, tokens, is_token)
    return {'prompt_past': np.load(path, mmap_mode='r')}

  @functools.cached_property
  def _params(self) -> PyTree:
    return self.language.init()

  def _write(self, path, tokens, is_token) -> None:
    aside = path.with_suffix('.tmp')
    file, at = None, 0
    for states in self._read(tokens, is_token):
      if file is None:
        shape = len(tokens), *states.shape[1:]
        file = np.lib.format.open_memmap(aside, 'w+', np.float32, shape)
      file[at : at + len(states)] = states
      at += len(states)
    file.flush()
    aside.replace(path)

  def _read(self, tokens, is_token):
    @jax.jit
    def read(params, tokens, is_token):
      model = self.language.merge(params)
      _, past = model(model.embed(tokens), is_token)
      states = jax.numpy.stack([past.keys, past.values])
      return jax.numpy.moveaxis(states, 2, 0).astype('float32')

    for first in tqdm(
      range(0, len(tokens), _ROWS), desc='prompts', disable=None
    ):
      rows = slice(first, first + _ROWS)
      filled = _ROWS - len(tokens[rows])
      given = [
        np.pad(array[rows], ((0, filled), (0, 0)))
        for array in (tokens, is_token)
      ]
      yield np.asarray(read(self._params, *given))[: _ROWS - filled]
