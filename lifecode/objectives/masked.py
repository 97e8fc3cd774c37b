"""What the objectives of Life-Code share: one model that reads a masked row."""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from backbone.array_types import (
  Array,
  Batch,
  Bool,
  Int,
  Mean,
  PRNGKey,
  PyTree,
  Scalar,
)
from lifecode.masking import UnitMasking
from lifecode.model import Encoded, LifeCode, LifeCodeConfig
from lifecode.regions import RegionLabels
from lifecode.tokenizers.interface import CODON, own_segment


class MaskedRows(NamedTuple):
  """Rows after masking, as the model encodes them.

  Attributes:
    encoded: What the heads read.
    sequence: The true symbols, [B, N].
    is_hidden: Selected, and not what stood there, [B, N].
    is_shown: Selected, but left as it was: known, not predicted, [B, N].
  """

  encoded: Encoded
  sequence: Int[Array, 'B N']
  is_hidden: Bool[Array, 'B N']
  is_shown: Bool[Array, 'B N']


@dataclasses.dataclass(frozen=True)
class MaskedForward:
  """Hides units and encodes the rest; equal ones are run once in a `Sum`.

  Attributes:
    masking: What is hidden.
    regions: Which labels are given.
  """

  masking: UnitMasking = dataclasses.field(default_factory=UnitMasking)
  regions: RegionLabels = dataclasses.field(default_factory=RegionLabels)

  def __call__(
    self, model: LifeCode, batch: Batch, key: PRNGKey, *, train: bool
  ) -> MaskedRows:
    sequence, segment_ids = batch['sequence'], batch['segment_ids']
    unit = math.lcm(CODON, model.unit)
    # A longer word may begin in one segment and end in the next, whose bases
    # are then neither read nor predicted.
    sequence = own_segment(sequence.astype(jnp.int32), segment_ids, unit)
    region_key = jax.random.fold_in(key, 1)
    corrupted, is_selected = self.masking(
      sequence, segment_ids, key, train=train, unit=unit
    )
    labels = self.regions(batch, model.unit, region_key, train=train)
    encoded = model.encode(corrupted, segment_ids, batch['positions'], labels)
    is_same = (corrupted == sequence).reshape(len(sequence), -1, unit).all(-1)
    is_same = jnp.repeat(is_same, unit, axis=1)
    return MaskedRows(
      encoded, sequence, is_selected & ~is_same, is_selected & is_same
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskedObjective:
  """An objective on masked rows; a subclass scores them.

  Attributes:
    model: The model to train.
    forward: What is hidden from it.
  """

  model: LifeCodeConfig
  forward: MaskedForward = dataclasses.field(default_factory=MaskedForward)

  @property
  def vocabulary(self) -> tuple[str, ...]:
    return self.model.tokenizer.vocabulary

  def init(self, key: PRNGKey) -> tuple[LifeCode, PyTree]:
    """A model with new weights; no state outside the gradient."""
    return LifeCode(self.model, key=key), ()

  def loss(
    self,
    model: LifeCode,
    aux: PyTree,
    batch: Batch,
    key: PRNGKey,
    *,
    train: bool,
  ) -> tuple[Scalar, tuple[PyTree, dict[str, Mean]]]:
    """Encodes masked rows and scores them."""
    rows = self.forward(model, batch, key, train=train)
    return self.score(model, aux, batch, rows)

  def score(
    self, model: LifeCode, aux: PyTree, batch: Batch, rows: MaskedRows
  ) -> tuple[Scalar, tuple[PyTree, dict[str, Mean]]]:
    """The loss of rows already encoded."""
    raise NotImplementedError
