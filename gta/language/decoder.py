"""What GTA asks of a language model, and what its decoders share."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import nnx

from backbone.array_types import Array, Bool, Float, Int
from backbone.nn.stack import Stack

# Of one layer: vectors, its own keys and values, those of the past -> vectors.
Layer = Callable[..., Any]


class Past(NamedTuple):
  """What later tokens see of earlier ones.

  Attributes:
    keys: Of every layer.
    values: The same.
    is_token: False at padding, which nobody sees.
  """

  keys: Float[Array, 'L B S G K']
  values: Float[Array, 'L B S G K']
  is_token: Bool[Array, 'B S']


@runtime_checkable
class Decoder(Protocol):
  """A causal language model."""

  def embed(self, tokens: Int[Array, 'B T']) -> Float[Array, 'B T D']:
    """Vectors of tokens, which others may stand between."""

  def __call__(
    self,
    x: Float[Array, 'B T D'],
    is_token: Bool[Array, 'B T'],
    past: Past | None = None,
  ) -> tuple[Float[Array, 'B T D'], Past]:
    """Hidden vectors after the last norm, and the past of what follows.

    Args:
      x: Vectors, of `embed` or not.
      is_token: False at padding, on either side.
      past: Of earlier calls.
    """

  def watch(
    self,
    x: Float[Array, 'B T D'],
    is_token: Bool[Array, 'B T'],
    past: Past | None = None,
  ) -> Float[Array, 'L B T _']:
    """Where each token looks, given the same: the mean over heads."""

  def scores(self, hidden: Float[Array, 'B T D']) -> Float[Array, 'B T V']:
    """Of the token that follows each."""


def visible(
  is_token: Bool[Array, 'B T'], past: Past | None
) -> tuple[Bool[Array, 'B T _'], Bool[Array, 'B _'], Int[Array, 'B T']]:
  """Which of all tokens, the past's first, each new one sees.

  Returns:
    That, which of all are tokens, and positions, for which padding is no time.
  """
  known = is_token
  if past is not None:
    known = jnp.concatenate([past.is_token, is_token], axis=1)
  num_past = known.shape[1] - is_token.shape[1]
  at = jnp.arange(known.shape[1])
  is_before = at <= num_past + jnp.arange(is_token.shape[1])[:, None]
  positions = jnp.maximum(known.cumsum(-1) - 1, 0)[:, num_past:]
  return is_before & known[:, None], known, positions


def attention_weights(
  query: Float[Array, 'B T H K'],
  key: Float[Array, 'B S G K'],
  sees: Bool[Array, 'B T S'],
) -> Float[Array, 'B G _ T S']:
  """Of the H / G heads of each group, which share keys, in float32."""
  rows, length, _, width = query.shape
  grouped = query.reshape(rows, length, key.shape[2], -1, width)
  scores = jnp.einsum('btghk,bsgk->bghts', grouped, key) * width**-0.5
  scores = scores.astype(jnp.float32)
  scores = jnp.where(sees[:, None, None], scores, jnp.finfo(jnp.float32).min)
  return jax.nn.softmax(scores)


def attend(
  query: Float[Array, 'B T H K'],
  key: Float[Array, 'B S G K'],
  value: Float[Array, 'B S G K'],
  sees: Bool[Array, 'B T S'],
) -> Float[Array, 'B T H K']:
  """Softmax attention.

  A token that sees none, as padding may, gets a mean that means nothing.
  """
  weights = attention_weights(query, key, sees).astype(value.dtype)
  mixed = jnp.einsum('bghts,bsgk->btghk', weights, value)
  return mixed.reshape(query.shape)


def after(
  past: Float[Array, 'B S G K'] | None, new: Float[Array, 'B T G K']
) -> Float[Array, 'B _ G K']:
  """Keys or values of a layer, those of the past first."""
  return new if past is None else jnp.concatenate([past, new], axis=1)


def run(
  stack: Stack,
  x: Float[Array, 'B T D'],
  is_token: Bool[Array, 'B T'],
  past: Past | None,
) -> tuple[Float[Array, 'B T D'], Past]:
  """All layers, each called as layer(x, sees, positions, keys, values)."""
  sees, known, positions = visible(is_token, past)
  graph, layers = nnx.split(stack.layers)
  before = None if past is None else (past.keys, past.values)

  def apply(x, given):
    layer, kept = given
    keys, values = kept or (None, None)
    return nnx.merge(graph, layer)(x, sees, positions, keys, values)

  if stack.remat != 'none':
    apply = jax.checkpoint(apply, prevent_cse=False)
  x, (keys, values) = jax.lax.scan(apply, x, (layers, before))
  return x, Past(keys, values, known)


def watch(
  stack: Stack,
  x: Float[Array, 'B T D'],
  is_token: Bool[Array, 'B T'],
  past: Past | None,
) -> Float[Array, 'L B T _']:
  """Where each token looks, the past's first: the mean over heads."""
  sees, _, positions = visible(is_token, past)
  graph, layers = nnx.split(stack.layers)
  before = None if past is None else (past.keys, past.values)

  def apply(x, given):
    layer, kept = given
    keys, values = kept or (None, None)
    layer = nnx.merge(graph, layer)
    weights = attention_weights(*layer.look(x, positions, keys), sees)
    return layer(x, sees, positions, keys, values)[0], weights.mean((1, 2))

  return jax.lax.scan(apply, x, (layers, before))[1]
