"""The shape glossary: letters and array types defined once.

B  batch
N  bases in a row
T  tokens (a token may be one base or a codon-sized unit of three)
D  embedding width
H  heads
K  width of a key or query head
V  width of a value head
F  hidden width of a feed-forward block
L  layers, or super-blocks, stacked on a leading axis
C  tokens in a chunk
Q  codes in a codebook
"""

from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Bool, Float, Int, Key, Shaped, UInt8

__all__ = [
  'Array',
  'Batch',
  'Bool',
  'Float',
  'Int',
  'Key',
  'Mean',
  'PyTree',
  'Scalar',
  'Shaped',
  'UInt8',
]

PyTree = Any
PRNGKey = Key[Array, '']
Scalar = Float[Array, '']
Batch = dict[str, jax.Array]


class Mean(NamedTuple):
  """A mean kept as (total, weight) until it is printed, so that it merges."""

  total: jax.Array
  weight: jax.Array

  def __add__(self, other: 'Mean') -> 'Mean':  # type: ignore[override]
    return Mean(self.total + other.total, self.weight + other.weight)

  def value(self) -> float:
    """Total over weight; NaN for a mean of nothing."""
    weight = float(self.weight)
    return float(self.total) / weight if weight else float('nan')
