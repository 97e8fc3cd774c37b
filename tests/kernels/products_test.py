"""Products with gradients of their own, against those of autodiff."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from backbone.kernels import products
from tests.tolerance import assert_close

# The product, what it is, and the shapes of its operands.
CASES = {
  'times': ('mik,mkj->mij', (3, 5, 7), (3, 7, 4)),
  'pairs': ('mik,mjk->mij', (3, 5, 7), (3, 4, 7)),
  'overlap': ('mki,mkj->mij', (3, 7, 5), (3, 7, 4)),
}


@pytest.mark.parametrize('name', CASES)
def test_value_and_gradients(name):
  equation, *shapes = CASES[name]
  rng = np.random.default_rng(0)
  x, y = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in shapes)
  weight = jnp.asarray(rng.normal(size=(3, 5, 4)), jnp.float32)

  def value_and_gradients(product):
    total = lambda x, y: jnp.sum(product(x, y) * weight)  # noqa: E731
    return product(x, y), *jax.grad(total, argnums=(0, 1))(x, y)

  actual = value_and_gradients(getattr(products, name))
  expected = value_and_gradients(lambda x, y: jnp.einsum(equation, x, y))
  for one, other in zip(actual, expected, strict=True):
    assert_close(one, other, dtype=jnp.float32, length=7)


def test_no_left_operand_of_the_gradients_is_transposed():
  """XLA on CPU is several times slower at those."""
  x = jnp.zeros((2, 32, 32))
  for name in CASES:
    product = getattr(products, name)
    gradients = jax.grad(lambda x, y: jnp.sum(product(x, y)), argnums=(0, 1))  # noqa: B023
    text = jax.jit(gradients).lower(x, x).compile().as_text()
    assert 'lhs_contracting_dims={1}' not in text, name
