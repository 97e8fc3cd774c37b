"""Life-Code: a tokenizer, region labels, the backbone, and heads."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from backbone.array_types import Array, Batch, Float, Int, PRNGKey
from backbone.model import Backbone, BackboneConfig
from backbone.nn.linear import Linear
from data_pipelines import records
from lifecode import regions
from lifecode.tokenizers import ConvMerge, Tokenizer
from lifecode.tokenizers.interface import CODON, Scores

# What a codon can be translated to: 20 amino acids and the stop.
NUM_AMINO_ACIDS = records.AMINO_ACIDS.index('*') + 1


@dataclasses.dataclass(frozen=True)
class LifeCodeConfig:
  """The parts of the model (unpublished: all sizes are our choice).

  Attributes:
    backbone: The encoder of units.
    tokenizer: From bases to units and back.
    region_embedding: Whether coding and non-coding units are told apart.
    translation_head: Whether there is a head for the translation objective.
    teacher_width: W of the teacher to distil from; 0 for no projector.
  """

  backbone: BackboneConfig
  tokenizer: Tokenizer = dataclasses.field(default_factory=ConvMerge)
  region_embedding: bool = True
  translation_head: bool = False
  teacher_width: int = 0

  def __post_init__(self):
    needs_codons = self.translation_head or self.teacher_width
    if needs_codons and self.tokenizer.unit > CODON:
      raise ValueError(
        f'translation and distillation need units of a codon or less, not of '
        f'{self.tokenizer.unit} bases'
      )


class Encoded(NamedTuple):
  """A row as the encoder leaves it.

  Attributes:
    hidden: Vectors of units, [B, T, D].
    rest: What the tokenizer needs beside them to score bases.
  """

  hidden: Float[Array, 'B T D']
  rest: Array | None


class LifeCode(nnx.Module):
  """One encoder for DNA, RNA and protein, all written as nucleotides."""

  def __init__(self, config: LifeCodeConfig, *, key: PRNGKey):
    tokenizer, backbone, translation, projector = jax.random.split(key, 4)
    width = config.backbone.width
    self.unit = config.tokenizer.unit
    self.tokenizer = config.tokenizer.make(width, key=tokenizer)
    self.region = (
      regions.RegionEmbedding(width) if config.region_embedding else None
    )
    self.backbone = Backbone(config.backbone, key=backbone)
    self.translation = (
      Linear(width, NUM_AMINO_ACIDS, rngs=nnx.Rngs(translation))
      if config.translation_head
      else None
    )
    self.projector = (
      Linear(width, config.teacher_width, rngs=nnx.Rngs(projector))
      if config.teacher_width
      else None
    )
    self.dtype = jnp.dtype(config.backbone.dtype)

  def encode(
    self,
    sequence: Int[Array, 'B N'],
    segment_ids: Int[Array, 'B N'],
    positions: Int[Array, 'B N'],
    labels: Int[Array, 'B T'] | None = None,
  ) -> Encoded:
    """Encodes rows of symbols.

    Args:
      sequence: Indices into `tokenizers.interface.SYMBOLS`.
      segment_ids: 0 for padding; a segment starts and ends on a unit. Where
        words are longer than codons, what shares a word with the segment
        before is not read, and has its vector.
      positions: Base position within the segment.
      labels: Regions of the units (`lifecode.regions`); None is unknown.
    """
    units, rest = self.tokenizer.embed(sequence, segment_ids, self.dtype)
    if self.region is not None:
      if labels is None:
        labels = jnp.full(units.shape[:2], regions.UNKNOWN)
      units = units + self.region(labels, self.dtype)
    hidden = self.backbone(
      units,
      segment_ids[:, :: self.unit],
      positions[:, :: self.unit] // self.unit,
    )
    return Encoded(hidden, rest)

  def scores(self, encoded: Encoded, sequence: Int[Array, 'B N']) -> Scores:
    """How well `sequence` was predicted, base by base."""
    return self.tokenizer.scores(*encoded, sequence)

  def codons(self, encoded: Encoded) -> Float[Array, 'B _ 64']:
    """log p of each of N // 3 codons, ordered as `central_dogma.CODONS`."""
    return self.tokenizer.codons(*encoded)

  def codon_vectors(self, encoded: Encoded) -> Float[Array, 'B _ D']:
    """A vector for three bases: the mean of units, or the unit they share."""
    hidden = encoded.hidden
    if self.unit > CODON:
      return jnp.repeat(hidden, self.unit // CODON, axis=1)
    rows, length, width = hidden.shape
    per_codon = CODON // self.unit
    return hidden.reshape(rows, length // per_codon, per_codon, width).mean(2)


def encode(model: LifeCode, batch: Batch) -> Float[Array, 'B _ D']:
  """Vectors of the N // 3 codons of a packed batch, for probes and tables."""
  sequence = batch['sequence'].astype(jnp.int32)
  encoded = model.encode(
    sequence,
    batch['segment_ids'],
    batch['positions'],
    regions.of_units(batch, model.unit),
  )
  return model.codon_vectors(encoded).astype(jnp.float32)
