"""Masking of whole units: all three bases of a codon, or none."""

import dataclasses

import jax
import jax.numpy as jnp

from backbone.array_types import Array, Bool, Int, PRNGKey
from lifecode.tokenizers.interface import CODON, MASK


@dataclasses.dataclass(frozen=True)
class UnitMasking:
  """What is hidden from the model, and how (LucaOne, CodonBERT: 15 %, 8:1:1).

  Attributes:
    rate: Share of units to predict.
    mask_share: Of those, replaced by the mask.
    random_share: Of those, replaced by three random bases. The rest is shown
      as it is.
  """

  rate: float = 0.15
  mask_share: float = 0.8
  random_share: float = 0.1

  def __post_init__(self):
    if not 0 < self.rate <= 1:
      raise ValueError(f'masking rate must be in (0, 1], not {self.rate}')
    if not 0 <= self.mask_share + self.random_share <= 1:
      raise ValueError('mask_share + random_share must be at most 1')

  def __call__(
    self,
    sequence: Int[Array, 'B N'],
    segment_ids: Int[Array, 'B N'],
    key: PRNGKey,
    *,
    train: bool,
    unit: int = CODON,
  ) -> tuple[Int[Array, 'B N'], Bool[Array, 'B N']]:
    """Hides units.

    Args:
      train: If False every selected unit is masked: a unit shown as it is
        would be counted as predicted.
      unit: Bases that are hidden together.

    Returns:
      The corrupted sequence, and which bases were selected.
    """
    rows, length = sequence.shape
    select_key, fate_key, base_key = jax.random.split(key, 3)
    units = (rows, length // unit)
    is_selected = jax.random.bernoulli(select_key, self.rate, units)
    is_selected &= segment_ids[:, ::unit] > 0
    fate = jax.random.uniform(fate_key, units)
    is_masked = fate < self.mask_share if train else jnp.ones(units, bool)
    is_random = ~is_masked & (fate < self.mask_share + self.random_share)
    is_selected, is_masked, is_random = (
      jnp.repeat(x, unit, axis=1) for x in (is_selected, is_masked, is_random)
    )
    random = jax.random.randint(base_key, sequence.shape, 0, 4)
    corrupted = jnp.where(is_random, random, sequence)
    corrupted = jnp.where(is_masked, MASK, corrupted)
    return jnp.where(is_selected, corrupted, sequence), is_selected
