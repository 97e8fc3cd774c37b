"""What a step asks for, as a share of what the chips could do."""

from collections.abc import Callable

import jax
from absl import logging
from flax import nnx
from jax.sharding import Mesh

from backbone.array_types import Batch, PyTree
from backbone.kernels import arithmetic, dispatch
from backbone.train.objective import Objective
from backbone.train.state import TrainState

# Dense bf16 operations a second of one device, as JAX names it: the pages of
# Cloud TPU on each version, and NVIDIA's data sheets (SXM).
PEAKS = {
  'TPU v4': 275e12,
  'TPU v5 lite': 197e12,
  'TPU v5e': 197e12,
  'TPU v5': 459e12,
  'TPU v5p': 459e12,
  'TPU v6 lite': 918e12,
  'TPU v6e': 918e12,
  'NVIDIA A100-SXM4-40GB': 312e12,
  'NVIDIA A100-SXM4-80GB': 312e12,
  'NVIDIA H100 80GB HBM3': 989e12,
  'NVIDIA H200': 989e12,
}


def loss_of(objective: Objective, graphdef: nnx.GraphDef) -> Callable:
  """Of parameters, aux and a batch, to a scalar; for traces of its cost."""

  def loss(params: PyTree, aux: PyTree, batch: PyTree) -> jax.Array:
    model = nnx.merge(graphdef, params)
    key = jax.random.key(0)
    return objective.loss(model, aux, batch, key, train=True)[0]

  return loss


def operations(
  objective: Objective,
  graphdef: nnx.GraphDef,
  params: PyTree,
  aux: PyTree,
  batch: PyTree,
  *,
  with_recomputation: bool = False,
) -> int:
  """Of the gradient's matrix products, on all devices.

  Args:
    objective: Whose loss it is of.
    graphdef: The model's static half.
    params: Arrays or shapes, as the rest.
    aux: State without gradient.
    batch: Of all processes.
    with_recomputation: Also what is computed again in the backward pass, which
      a utilisation leaves out (arXiv:2204.02311, appendix B).
  """
  loss = loss_of(objective, graphdef)
  shapes = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (params, aux, batch)
  )
  traced_as = (
    dispatch.references if with_recomputation else arithmetic.as_specified
  )
  with traced_as():
    made = jax.make_jaxpr(jax.grad(loss))(*shapes)
  return arithmetic.operations(made.jaxpr)


class Utilisation:
  """Of the steps of one run, whose batches are alike."""

  def __init__(self, objective: Objective, graphdef: nnx.GraphDef, mesh: Mesh):
    """Counts nothing yet."""
    self._traced = objective, graphdef
    self._mesh = mesh
    kind = mesh.devices.flat[0].device_kind
    self._peak = mesh.size * PEAKS.get(kind, 0)
    self._operations: int | None = None

  def of(
    self, state: TrainState, batch: Batch, seconds: float
  ) -> dict[str, float]:
    """{'utilisation': share}; nothing on devices whose peak is not known.

    Args:
      state: Of the training.
      batch: Of all processes.
      seconds: A step took.
    """
    if self._peak and self._operations is None:
      try:
        self._operations = self._count(state, batch)
      except (NotImplementedError, ValueError) as error:
        # A run does not end for want of a statistic.
        logging.warning('utilisation is not logged: %s', error)
        self._peak = 0
    if not self._peak:
      return {}
    return {'utilisation': self._operations / seconds / self._peak}

  def _count(self, state: TrainState, batch: Batch) -> int:
    # Traced as if for one device, so that no product is cut into parts.
    devices = self._mesh.devices
    one = Mesh(
      devices.flat[:1].reshape((1,) * devices.ndim),
      self._mesh.axis_names,
      axis_types=self._mesh.axis_types,
    )
    with jax.set_mesh(one):
      return operations(*self._traced, state.params, state.aux, batch)
