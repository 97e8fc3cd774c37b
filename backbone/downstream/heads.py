"""Linear heads of an encoder, and their losses."""

import jax
import jax.numpy as jnp
import optax

from backbone.array_types import Array, Float, PRNGKey, Shaped

Head = dict[str, jax.Array]


def init(width: int, num_outputs: int, key: PRNGKey) -> Head:
  """A kernel, normal of deviation 1 / sqrt(width), and a bias of zero."""
  noise = jax.random.normal(key, (width, num_outputs))
  return {'kernel': noise / width**0.5, 'bias': jnp.zeros(num_outputs)}


def apply(head: Head, features: Float[Array, '... F']) -> Float[Array, '... O']:
  """A score per class, or one number."""
  return features @ head['kernel'] + head['bias']


def of_pairs(vectors: Float[Array, 'rows U D']) -> Float[Array, 'B U 4*D']:
  """Both vectors, their product and their distance, as the probe has them.

  The second sequences are in the rows after the first.
  """
  first, second = jnp.split(vectors, 2)
  parts = [first, second, first * second, jnp.abs(first - second)]
  return jnp.concatenate(parts, axis=-1)


def losses(
  outputs: Float[Array, '*lead O'], target: Shaped[Array, '*lead']
) -> Float[Array, '*lead']:
  """Cross-entropy in nats where targets are classes, else squared error.

  A negative class is none: its loss is finite, and means nothing.
  """
  if jnp.issubdtype(target.dtype, jnp.floating):
    return jnp.square(outputs[..., 0] - target)
  return optax.softmax_cross_entropy_with_integer_labels(
    outputs, jnp.maximum(target, 0)
  )
