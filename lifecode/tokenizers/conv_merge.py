"""The learned tokenizer: bases, a short convolution, and a merge of three.

Life-Code's codon tokenizer as we read it (`lifecode/README.md`): learned over
bases rather than looked up, so that N, single-base labels and coding and
non-coding sequence need no other treatment.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Int32, UInt8

from backbone.array_types import Array, Float, Int, PRNGKey
from backbone.nn.convolution import ShortConvolution
from backbone.nn.embed import Embed
from backbone.nn.linear import Linear
from backbone.nn.norm import RMSNorm
from backbone.sharding import shard
from data_pipelines.records import N
from lifecode.tokenizers.interface import (
  CODON,
  SYMBOLS,
  Scores,
  UnitCodec,
  codons_of_bases,
  fill,
  in_frame,
  score_bases,
)
from lifecode.tokenizers.lookup import score_words


@dataclasses.dataclass(frozen=True)
class ConvMerge:
  """Sizes of the learned tokenizer (unpublished: all are our choice).

  Attributes:
    base_width: d, width of a base before three are merged.
    convolution_size: Taps of the symmetric convolution over bases, odd.
    head: 'bases' predicts three bases apart, 3 x 4-way, from the un-merged
      unit and a skip; 'codons' predicts 64-way, which alone can give the
      synonyms of one amino acid any probabilities.
  """

  base_width: int = 64
  convolution_size: int = 5
  head: Literal['bases', 'codons'] = 'bases'

  unit = CODON
  vocabulary = tuple(SYMBOLS)

  def __post_init__(self):
    if self.convolution_size % 2 == 0:
      raise ValueError(
        f'convolution_size must be odd, not {self.convolution_size}'
      )
    if self.head not in ('bases', 'codons'):
      raise ValueError(f'head {self.head!r}: choose bases or codons')

  def tokenize(
    self, sequence: UInt8[np.ndarray, 'n'], *, phase: int = 0, strand: int = 1
  ) -> Int32[np.ndarray, 'units 3']:
    """Three symbols for each unit; the last unit is filled up with N."""
    framed = in_frame(sequence, phase, strand)
    return fill(framed, CODON).astype(np.int32)

  def untokenize(
    self, ids: Int32[np.ndarray, 'units 3'], length: int
  ) -> UInt8[np.ndarray, 'length']:
    """The first `length` bases; a symbol that is none reads N."""
    return np.minimum(ids.reshape(-1)[:length], N).astype(np.uint8)

  def make(self, width: int, *, key: PRNGKey) -> UnitCodec:
    return ConvMergeCodec(self, width, key=key)


class ConvMergeCodec(UnitCodec):
  """Embedding, convolution and merge; un-merge with a skip, or a codon head.

  A masked base is replaced before the embedding, so that neither the
  convolution nor the skip to the head can see behind a mask.
  """

  def __init__(self, config: ConvMerge, width: int, *, key: PRNGKey):
    keys = [jax.random.fold_in(key, i) for i in range(6)]
    base = config.base_width
    rngs = [nnx.Rngs(key) for key in keys]
    self.embedding = Embed(len(SYMBOLS), base, rngs=rngs[0])
    self.convolution = ShortConvolution(
      (base,), config.convolution_size, rngs=rngs[1]
    )
    self.projection = Linear(base, base, rngs=rngs[2])
    self.merge = Linear((CODON, base), width, rngs=rngs[3])
    self.has_codon_head = config.head == 'codons'
    if self.has_codon_head:
      self.head = Linear(width, 4**CODON, rngs=rngs[5])
    else:
      self.unmerge = Linear(width, (CODON, base), rngs=rngs[4])
      self.head_norm = RMSNorm(base)
      self.head = Linear(base, 4, rngs=rngs[5])

  def embed(
    self,
    sequence: Int[Array, 'B N'],
    segment_ids: Int[Array, 'B N'],
    dtype: jnp.dtype,
  ) -> tuple[Float[Array, 'B T D'], Float[Array, 'B N d']]:
    """Vectors of units, and the base vectors they were merged from."""
    bases = self.embedding(sequence, dtype)
    bases = self.projection(jax.nn.silu(self.convolution(bases, segment_ids)))
    rows, length, width = bases.shape
    merged = self.merge(bases.reshape(rows, length // CODON, CODON, width))
    return shard(merged, 'batch', 'length', 'embed'), bases

  def scores(
    self,
    hidden: Float[Array, 'B T D'],
    rest: Float[Array, 'B N d'],
    sequence: Int[Array, 'B N'],
  ) -> Scores:
    if self.has_codon_head:
      return score_words(self._codon_logits(hidden), sequence, CODON)
    return score_bases(self.base_logits(hidden, rest), sequence)

  def codons(
    self, hidden: Float[Array, 'B T D'], rest: Float[Array, 'B N d']
  ) -> Float[Array, 'B T 64']:
    if self.has_codon_head:
      return jax.nn.log_softmax(self._codon_logits(hidden))
    return codons_of_bases(self.base_logits(hidden, rest))

  def base_logits(
    self, hidden: Float[Array, 'B T D'], bases: Float[Array, 'B N d']
  ) -> Float[Array, 'B N 4']:
    """Scores of A, C, G and T at every base."""
    unmerged = self.unmerge(hidden).reshape(bases.shape)
    hidden = self.head_norm(jax.nn.silu(unmerged) + bases)
    return self.head(hidden).astype(jnp.float32)

  def _codon_logits(self, hidden: Array) -> Float[Array, 'B T 64']:
    return self.head(hidden).astype(jnp.float32)
