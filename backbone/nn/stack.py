"""A stack of equal modules: parameters on a leading axis, one scan."""

from collections.abc import Callable
from typing import Literal

import jax
from flax import nnx

from backbone.array_types import Array, Float, PRNGKey

Remat = Literal['none', 'block', 'dots']

_POLICIES = {
  'block': jax.checkpoint_policies.nothing_saveable,
  'dots': jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


class Stack(nnx.Module):
  """`num` modules of one structure applied one after another.

  Each has its own key, so a new parameter in one leaves the others' initial
  values alone.
  """

  def __init__(
    self,
    make: Callable[[nnx.Rngs], nnx.Module],
    num: int,
    *,
    remat: Remat,
    key: PRNGKey,
  ):
    """Builds the modules.

    Args:
      make: Makes one module from its random streams.
      remat: What the backward pass recomputes: nothing, everything inside a
        module, or all but its matrix products.
    """
    keys = jax.random.split(key, num)
    graph = nnx.split(nnx.eval_shape(lambda: make(nnx.Rngs(0))))[0]
    state = jax.vmap(lambda key: nnx.split(make(nnx.Rngs(key)))[1])(keys)
    self.layers = nnx.merge(graph, state)
    self.remat = remat

  def __call__(
    self, x: Float[Array, 'B T D'], *arguments: Array
  ) -> Float[Array, 'B T D']:
    graph, state = nnx.split(self.layers)

    def apply(x, layer):
      return nnx.merge(graph, layer)(x, *arguments), None

    if self.remat != 'none':
      policy = _POLICIES[self.remat]
      apply = jax.checkpoint(apply, prevent_cse=False, policy=policy)
    return jax.lax.scan(apply, x, state)[0]
