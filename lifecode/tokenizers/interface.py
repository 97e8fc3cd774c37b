"""What all tokenizers share: symbols, frames, and the interface.

A tokenizer is a frozen dataclass: what the ids mean (`vocabulary`), bases to
ids and back on the host (`tokenize`, `untokenize`), and `make`, which builds
the module that embeds units and scores their bases.
"""

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Int32, UInt8

from backbone.array_types import Array, Bool, Float, Int, PRNGKey
from data_pipelines import central_dogma, records

# Symbols of a base. `-` pads a row, `#` hides a base, `.` is spare.
SYMBOLS = 'ACGTN-#.'
MASK = SYMBOLS.index('#')
# Bases of a codon: what is hidden, translated and distilled as one.
CODON = 3


class Scores(NamedTuple):
  """How well hidden bases were predicted, each [B, N].

  Attributes:
    nats: -log p of the base; of a word, shared out among its bases.
    is_right: Whether it was the best guess.
    is_scored: False at N, at padding, and in a word with either.
  """

  nats: Float[Array, 'B N']
  is_right: Bool[Array, 'B N']
  is_scored: Bool[Array, 'B N']


class Tokenizer(Protocol):
  """Bases to units and back.

  Attributes:
    unit: Bases of a unit.
    vocabulary: What each id means, in order; its hash travels with checkpoints.
  """

  unit: int
  vocabulary: tuple[str, ...]

  def tokenize(
    self, sequence: UInt8[np.ndarray, 'n'], *, phase: int = 0, strand: int = 1
  ) -> Int32[np.ndarray, '...']:
    """Ids of the units of a strand, from its first whole codon on."""

  def untokenize(
    self, ids: Int32[np.ndarray, '...'], length: int
  ) -> UInt8[np.ndarray, 'length']:
    """The first `length` bases that the ids stand for."""

  def make(self, width: int, *, key: PRNGKey) -> 'UnitCodec':
    """The module with weights."""


class UnitCodec(nnx.Module):
  """The two ends of the encoder: bases to vectors of units, and back.

  `rest` is whatever the scores need beside the encoder's output.
  """

  def embed(
    self,
    sequence: Int[Array, 'B N'],
    segment_ids: Int[Array, 'B N'],
    dtype: jnp.dtype,
  ) -> tuple[Float[Array, 'B T D'], Array | None]:
    """Vectors of units of a row of symbols, and `rest`."""
    raise NotImplementedError

  def scores(
    self,
    hidden: Float[Array, 'B T D'],
    rest: Array | None,
    sequence: Int[Array, 'B N'],
  ) -> Scores:
    """How well `sequence` was predicted."""
    raise NotImplementedError

  def codons(
    self, hidden: Float[Array, 'B T D'], rest: Array | None
  ) -> Float[Array, 'B _ 64']:
    """log p of each of N // 3 codons, ordered as `central_dogma.CODONS`."""
    raise NotImplementedError


def own_segment(
  sequence: Int[Array, 'B N'], segment_ids: Int[Array, 'B N'], unit: int
) -> Int[Array, 'B N']:
  """N for what is in another segment than the first base of its unit."""
  first = jnp.repeat(segment_ids[:, ::unit], unit, axis=1)
  return jnp.where(segment_ids == first, sequence, records.N)


def in_frame(
  sequence: UInt8[np.ndarray, 'n'], phase: int, strand: int
) -> UInt8[np.ndarray, 'm']:
  """The strand as it is read, from its first whole codon on.

  Args:
    sequence: Bases A C G T N = 0..4 of the forward strand.
    phase: Bases in front of the first whole codon, as in GFF3 (0, 1 or 2);
      they belong to the codon before and are left out.
    strand: 1, or -1 for the reverse complement, to which `phase` then applies.

  Raises:
    ValueError: Another phase or strand.
  """
  if phase not in (0, 1, 2) or strand not in (1, -1):
    raise ValueError(
      f'phase {phase}, strand {strand}: a phase is 0, 1 or 2, a strand 1 or -1'
    )
  if strand < 0:
    sequence = central_dogma.reverse_complement(sequence)
  return sequence[phase:]


def fill(
  sequence: UInt8[np.ndarray, 'n'], unit: int
) -> UInt8[np.ndarray, 'units unit']:
  """Whole units; the last one is filled up with N."""
  missing = -len(sequence) % unit
  filled = np.pad(sequence, (0, missing), constant_values=records.N)
  return filled.reshape(-1, unit)


def codons_of_bases(logits: Float[Array, 'B N 4']) -> Float[Array, 'B _ 64']:
  """log p of each codon whose three bases are predicted apart."""
  rows, length, _ = logits.shape
  bases = jax.nn.log_softmax(logits).reshape(rows, length // CODON, CODON, 4)
  first, second, third = (bases[:, :, i] for i in range(CODON))
  pairs = first[..., :, None] + second[..., None, :]
  codons = pairs[..., :, None] + third[..., None, None, :]
  return codons.reshape(rows, length // CODON, -1)


def score_bases(
  logits: Float[Array, 'B N 4'], sequence: Int[Array, 'B N']
) -> Scores:
  """Scores of bases predicted one by one."""
  # One-hot instead of a gather, whose gradient would be a scatter.
  truth = jax.nn.one_hot(sequence, 4)
  return Scores(
    nats=-(jax.nn.log_softmax(logits) * truth).sum(-1),
    is_right=logits.argmax(-1) == sequence,
    is_scored=sequence < records.N,
  )
