"""Tokenizers that look up: 64 codons, single bases, or k-mers side by side."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Int32, UInt8

from backbone.array_types import Array, Float, Int, PRNGKey
from backbone.nn.embed import Embed
from backbone.nn.linear import Linear
from backbone.sharding import shard
from data_pipelines.records import PAD, N
from lifecode.tokenizers.interface import (
  CODON,
  MASK,
  Scores,
  UnitCodec,
  codons_of_bases,
  fill,
  in_frame,
  own_segment,
)


@dataclasses.dataclass(frozen=True)
class Lookup:
  """A vector for each word of `bases` bases: 3 codons, 1 bases, else k-mers.

  Words count in the order of `product('ACGT')`, AAA = 0; then come the word
  with an N (all such are one, so un-tokenizing gives N throughout), the masked
  word and the padding. Words stand side by side: an N never shifts a frame.

  Attributes:
    bases: Of a word: 1, or a multiple of a codon's three.
  """

  bases: int = CODON

  def __post_init__(self):
    if self.bases not in (1, 3, 6):
      raise ValueError(f'a word of {self.bases} bases: choose 1, 3 or 6')

  @property
  def unit(self) -> int:
    return self.bases

  @property
  def vocabulary(self) -> tuple[str, ...]:
    words = itertools.product('ACGT', repeat=self.bases)
    special = (symbol * self.bases for symbol in 'N#-')
    return (*map(''.join, words), *special)

  def tokenize(
    self, sequence: UInt8[np.ndarray, 'n'], *, phase: int = 0, strand: int = 1
  ) -> Int32[np.ndarray, 'units']:
    """An id for each unit; the last unit is filled up with N."""
    words = fill(in_frame(sequence, phase, strand), self.bases)
    ids = words @ (4 ** np.arange(self.bases, dtype=np.int32)[::-1])
    return np.where((words == N).any(1), np.int32(4**self.bases), ids)

  def untokenize(
    self, ids: Int32[np.ndarray, 'units'], length: int
  ) -> UInt8[np.ndarray, 'length']:
    """The first `length` bases; a word that is none reads N throughout."""
    places = 4 ** np.arange(self.bases)[::-1]
    bases = ids[:, None] // places % 4
    bases[ids >= 4**self.bases] = N
    return bases.reshape(-1)[:length].astype(np.uint8)

  def make(self, width: int, *, key: PRNGKey) -> UnitCodec:
    return LookupCodec(self, width, key=key)


class LookupCodec(UnitCodec):
  """A table of words, and a head over the 4 ** k words without N."""

  def __init__(self, config: Lookup, width: int, *, key: PRNGKey):
    self.bases = config.bases
    table_key, head_key = jax.random.split(key)
    num_words = 4**config.bases
    self.embedding = Embed(num_words + 3, width, rngs=nnx.Rngs(table_key))
    self.head = Linear(width, num_words, rngs=nnx.Rngs(head_key))

  def embed(
    self,
    sequence: Int[Array, 'B N'],
    segment_ids: Int[Array, 'B N'],
    dtype: jnp.dtype,
  ) -> tuple[Float[Array, 'B T D'], None]:
    # A word that reaches over the end of its segment holds no base of another.
    sequence = own_segment(sequence, segment_ids, self.bases)
    vectors = self.embedding(word_ids(sequence, self.bases), dtype)
    return shard(vectors, 'batch', 'length', 'embed'), None

  def scores(
    self,
    hidden: Float[Array, 'B T D'],
    rest: None,
    sequence: Int[Array, 'B N'],
  ) -> Scores:
    return score_words(self._logits(hidden), sequence, self.bases)

  def codons(
    self, hidden: Float[Array, 'B T D'], rest: None
  ) -> Float[Array, 'B _ 64']:
    """Raises: ValueError where a word holds several codons."""
    if self.bases == CODON:
      return jax.nn.log_softmax(self._logits(hidden))
    if self.bases == 1:
      return codons_of_bases(self._logits(hidden))
    raise ValueError(f'words of {self.bases} bases have no score for a codon')

  def _logits(self, hidden: Array) -> Float[Array, 'B T words']:
    return self.head(hidden).astype(jnp.float32)


def word_ids(sequence: Int[Array, 'B N'], bases: int) -> Int[Array, 'B T']:
  """Ids of words of symbols, as `Lookup` counts them."""
  rows, length = sequence.shape
  words = sequence.reshape(rows, length // bases, bases).astype(jnp.int32)
  ids = (jnp.minimum(words, N - 1) * 4 ** jnp.arange(bases)[::-1]).sum(-1)
  special = jnp.stack(
    [
      (words >= N).any(-1),
      (words == MASK).any(-1),
      (words == PAD).all(-1),
    ]
  )
  # The last that holds: padding, mask, N.
  rank = (special * jnp.arange(1, 4)[:, None, None]).max(0)
  return jnp.where(rank > 0, 4**bases + rank - 1, ids)


def score_words(
  logits: Float[Array, 'B T words'], sequence: Int[Array, 'B N'], bases: int
) -> Scores:
  """Scores of bases predicted as whole words."""
  ids = word_ids(sequence, bases)
  truth = jax.nn.one_hot(ids, logits.shape[-1])
  nats = -(jax.nn.log_softmax(logits) * truth).sum(-1) / bases
  guess = logits.argmax(-1)
  guessed = guess[..., None] // 4 ** jnp.arange(bases)[::-1] % 4
  return Scores(
    nats=jnp.repeat(nats, bases, axis=1),
    is_right=guessed.reshape(sequence.shape) == sequence,
    is_scored=jnp.repeat(ids < logits.shape[-1], bases, axis=1),
  )
