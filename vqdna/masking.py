"""Which tokens are hidden: single ones as published, or spans."""

import dataclasses

import jax
import jax.numpy as jnp

from backbone.array_types import Array, Bool, Int, PRNGKey


@dataclasses.dataclass(frozen=True)
class SpanMasking:
  """Hides spans of tokens, on a grid that is shifted anew in every row.

  Attributes:
    rate: Share of tokens that are hidden (VQDNA: 25 %).
    span: Tokens that are hidden together. VQDNA's is 1; but codes around a
      hidden token were made of its bases too, as far as the encoder reaches,
      and a span of more than twice that has a centre they know nothing of.
  """

  rate: float = 0.25
  span: int = 1

  def __post_init__(self):
    if not 0 < self.rate <= 1:
      raise ValueError(f'masking rate must be in (0, 1], not {self.rate}')
    if self.span < 1:
      raise ValueError(f'a span has one token or more, not {self.span}')

  def __call__(
    self, segment_ids: Int[Array, 'B T'], key: PRNGKey
  ) -> Bool[Array, 'B T']:
    """Which tokens to hide; none of the padding, whose segment is 0."""
    rows, length = segment_ids.shape
    shift_key, span_key = jax.random.split(key)
    shift = jax.random.randint(shift_key, (rows, 1), 0, self.span)
    span_of = (jnp.arange(length) + shift) // self.span
    num_spans = -(-(length + self.span - 1) // self.span)
    is_chosen = jax.random.bernoulli(span_key, self.rate, (rows, num_spans))
    is_hidden = jnp.take_along_axis(is_chosen, span_of, axis=1)
    return is_hidden & (segment_ids > 0)
