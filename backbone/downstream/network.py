"""An encoder with a head: its outputs, an update, predictions."""

import dataclasses
import functools
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from backbone.array_types import Array, Bool, Float, PyTree, Scalar
from backbone.downstream import heads, lora
from backbone.downstream.lora import LoRAConfig
from backbone.downstream.probe import Encode
from backbone.train.optim import AdamW
from data_pipelines.tasks.task import Pooling


@dataclasses.dataclass(frozen=True)
class Network:
  """The static half of an encoder with a head; equal ones share compilations.

  What is trained is a dict of 'head' and, by mode, the 'model' parameters or
  'adapters' of them; parameters that are not trained come beside it.

  Attributes:
    encode: Of the model.
    graph: The model without its parameters.
    lora: Of adapters.
    pooling: Of the task.
    is_pair: Whether the task has pairs.
    has_maximum: Whether the maximum over the units stands beside their mean.
  """

  encode: Encode
  graph: nnx.GraphDef
  lora: LoRAConfig
  pooling: Pooling
  is_pair: bool
  has_maximum: bool = False

  def params(self, trained: PyTree, frozen: PyTree) -> PyTree:
    """The encoder's parameters, adapters merged."""
    if 'adapters' in trained:
      return lora.apply(frozen, trained['adapters'], self.lora)
    return trained.get('model', frozen)

  def features(self, params: PyTree, call: PyTree) -> Float[Array, 'E U F']:
    """What the head reads: of an example one vector, or one of every unit."""
    vectors = self.encode(nnx.merge(self.graph, params), call['inputs'])
    vectors = vectors.astype(jnp.float32)
    if self.pooling != 'unit':
      is_unit = call['inputs']['segment_ids'][:, ::3] > 0
      weights = _pooling_weights(is_unit, self.pooling)
      pooled = [jnp.einsum('btd,bt->bd', vectors, weights)]
      if self.has_maximum:
        pooled.append(_maximum(vectors, is_unit))
      vectors = jnp.concatenate(pooled, axis=-1)[:, None]
    return heads.of_pairs(vectors) if self.is_pair else vectors

  def outputs(
    self, trained: PyTree, frozen: PyTree, call: PyTree
  ) -> Float[Array, 'E U O']:
    """Scores or numbers of the examples of one call."""
    features = self.features(self.params(trained, frozen), call)
    return heads.apply(trained['head'], features)


def _maximum(
  vectors: Float[Array, 'B T D'], is_unit: Bool[Array, 'B T']
) -> Float[Array, 'B D']:
  """Over the units of each row; zero in a row without any."""
  is_unit = is_unit[..., None]
  least = jnp.finfo(vectors.dtype).min
  largest = jnp.where(is_unit, vectors, least).max(1)
  return jnp.where(is_unit.any(1), largest, 0)


def _pooling_weights(
  is_unit: Bool[Array, 'B T'], pooling: Pooling
) -> Float[Array, 'B T']:
  """What each unit counts for in the vector of its row."""
  num_units = is_unit.sum(-1, keepdims=True)
  if pooling == 'mean':
    return is_unit / jnp.maximum(num_units, 1)
  is_centre = jnp.arange(is_unit.shape[1]) == num_units // 2
  return is_centre.astype(jnp.float32)


def loss_and_gradient(
  network: Network, trained: PyTree, frozen: PyTree, batch: PyTree
) -> tuple[Scalar, PyTree]:
  """Of a whole batch, one call of the encoder after another."""

  def loss_of(trained: PyTree, call: PyTree) -> Scalar:
    outputs = network.outputs(trained, frozen, call)
    return jnp.sum(call['weight'] * heads.losses(outputs, call['target']))

  def add(total: PyTree, call: PyTree) -> tuple[PyTree, None]:
    found = jax.value_and_grad(loss_of)(trained, call)
    return jax.tree.map(jnp.add, total, found), None

  zero = jnp.zeros(()), jax.tree.map(jnp.zeros_like, trained)
  return jax.lax.scan(add, zero, batch)[0]


@functools.partial(
  jax.jit,
  static_argnames=('network', 'optimizer', 'steps'),
  donate_argnames=('trained', 'opt_state'),
)
def update(
  network: Network,
  optimizer: AdamW,
  steps: int,
  trained: PyTree,
  opt_state: PyTree,
  frozen: PyTree,
  batch: PyTree,
  learning_rate: Scalar | float,
) -> tuple[PyTree, PyTree, Scalar]:
  """What is trained and the optimizer's state after a step, the loss before.

  The learning rate multiplies what `optimizer` does in a run of `steps`.
  """
  loss, gradient = loss_and_gradient(network, trained, frozen, batch)
  transform = optimizer.transform(steps)
  updates, opt_state = transform.update(gradient, opt_state, trained)
  updates = jax.tree.map(lambda update: learning_rate * update, updates)
  return optax.apply_updates(trained, updates), opt_state, loss


@functools.partial(jax.jit, donate_argnames='average')
def follow(average: PyTree, trained: PyTree, decay: Scalar | float) -> PyTree:
  """The moving average after one more update."""
  return jax.tree.map(
    lambda mean, new: decay * mean + (1 - decay) * new, average, trained
  )


@functools.partial(jax.jit, static_argnames='network')
def _run(
  network: Network, trained: PyTree, frozen: PyTree, batch: PyTree
) -> tuple[jax.Array, jax.Array]:
  """Outputs and losses of all calls of a batch."""

  def run(call: PyTree) -> tuple[jax.Array, jax.Array]:
    outputs = network.outputs(trained, frozen, call)
    return outputs, heads.losses(outputs, call['target'])

  return jax.lax.map(run, batch)


def predict(
  network: Network,
  trained: PyTree,
  frozen: PyTree,
  batches: Iterable[tuple[np.ndarray, PyTree]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Outputs [u, O], losses [u], examples [u] of what is labelled, in order.

  Args:
    batches: As `Batches.of` gives them.
  """
  found = []
  for indices, batch in batches:
    made = *_run(network, trained, frozen, batch), batch['weight']
    # Rows of all calls: the examples in order, then those of no weight.
    outputs, losses, weight = (
      np.asarray(x).reshape(-1, *x.shape[2:]) for x in made
    )
    row, unit = np.nonzero(weight)
    found.append((outputs[row, unit], losses[row, unit], indices[row]))
  outputs, losses, example = map(np.concatenate, zip(*found, strict=True))
  order = np.argsort(example, kind='stable')
  return outputs[order], losses[order], example[order]
