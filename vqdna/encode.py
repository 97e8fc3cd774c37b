"""A code model as an encoder of downstream tasks."""

import hashlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped
from tqdm import tqdm

from backbone.array_types import Array, Batch, Float, Int, PyTree
from backbone.downstream import probe
from backbone.downstream.examples import num_units
from vqdna.code_model import CodeModel
from vqdna.words import Tokens, Words

_BASES_PER_CALL = 16_384
# Both strands of a task's sequences, of the words of two models.
_NUM_KEPT = 2
_NUM_LENGTHS = 4


class Encode:
  """encode(model, batch): a vector for each unit of three bases.

  Words are frozen, so that fine-tuning makes a task's tokens once: `read`
  before it, and a batch that has them under 'tokens' is not tokenized again.
  """

  def __init__(self):
    self._kept: dict[str, list[np.ndarray]] = {}

  def __call__(self, model: CodeModel, batch: Batch) -> Float[Array, 'B U D']:
    with jax.ensure_compile_time_eval():
      state = model.words.init()
    if 'tokens' not in batch:
      tokens = model.words(state, batch)
    else:
      tokens = _tokens(model.words, state, batch['tokens'])
    encoded = model.encode(tokens, None, batch)
    if model.stride * model.pool == 3:
      return encoded
    rows, length, width = encoded.shape
    return encoded.reshape(rows, length // 3, 3, width).mean(2)

  def read(
    self, model: CodeModel, sequences: Sequence[np.ndarray]
  ) -> list[Shaped[np.ndarray, '_ _']]:
    """Of every sequence, each token's codes, and whether it is a word."""
    digest = hashlib.sha256(model.words.hash.encode())
    for sequence in sequences:
      digest.update(np.int64(sequence.size).tobytes())
      digest.update(np.ascontiguousarray(sequence).tobytes())
    key = digest.hexdigest()
    if key not in self._kept:
      while len(self._kept) >= _NUM_KEPT:
        del self._kept[next(iter(self._kept))]
      self._kept[key] = _read(model.words, sequences)
    return self._kept[key]


encode = Encode()


def _tokens(words: Words, state, numbers: Int[Array, 'B T _']) -> Tokens:
  """From codes of all levels, and whether it is a word."""
  *ids, is_real = jnp.moveaxis(numbers, -1, 0)
  return Tokens(tuple(ids), words.vectors(state, tuple(ids)), is_real > 0)


def _read(
  words: Words, sequences: Sequence[np.ndarray]
) -> list[Shaped[np.ndarray, '_ _']]:
  state = words.init()
  is_small = max(words.sizes) <= np.iinfo(np.uint16).max
  dtype = np.uint16 if is_small else np.int32

  @jax.jit
  def read(state: PyTree, batch: Batch) -> Int[Array, 'B T _']:
    tokens = words(state, batch)
    return jnp.stack([*tokens.ids, tokens.is_real], axis=-1).astype(jnp.int32)

  lengths = np.array([3 * num_units(sequence) for sequence in sequences])
  found: list[np.ndarray] = [np.zeros(0)] * len(sequences)
  progress = tqdm(
    total=len(sequences), desc='tokens', unit='sequence', disable=None
  )
  # A few lengths of rows: each is compiled.
  shares = np.arange(1, _NUM_LENGTHS + 1) / _NUM_LENGTHS
  rungs = np.unique(np.quantile(lengths, shares, method='higher'))
  rung = np.searchsorted(rungs, lengths)
  for at, length in enumerate(rungs.tolist()):
    members = np.flatnonzero(rung == at)
    rows = min(max(1, _BASES_PER_CALL // length), members.size)
    for first in range(0, members.size, rows):
      index = members[first : first + rows]
      chosen = [sequences[i] for i in index]
      packed = probe.pack(chosen, (rows, length), genetic_code=1)
      made = np.asarray(read(state, packed)).astype(dtype)
      for row, i in enumerate(index):
        found[i] = made[row, : lengths[i] // words.stride]
      progress.update(index.size)
  progress.close()
  return found
