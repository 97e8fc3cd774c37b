"""The training state and the one jitted step that moves it."""

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh

from backbone.array_types import Batch, Mean, PRNGKey, PyTree
from backbone.sharding import (
  DEFAULT_RULES,
  AnyMesh,
  AxisRules,
  batch_sharding,
  param_specs,
  replicated,
  shard,
)
from backbone.train import processes
from backbone.train.objective import HasFrozen, Objective


class TrainingError(ValueError):
  """The run cannot go on as configured; one line says why."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  """All that a step reads and writes, and all that a checkpoint keeps.

  Attributes:
    params: Nested dict of the model's parameters.
    opt_state: State of the optax transformation.
    aux: The objective's state without gradient.
    step: Number of updates applied.
    failed_at: Step whose loss or gradient was not finite, -1 if none. From
      then on no update is applied, so the loop may look at it late.
  """

  params: PyTree
  opt_state: PyTree
  aux: PyTree
  step: PyTree
  failed_at: PyTree


Step = Callable[[TrainState, Batch], tuple[TrainState, dict[str, Mean]]]


def split_model(model: nnx.Module) -> tuple[nnx.GraphDef, PyTree]:
  """The static half of a model and its parameters as a nested dict.

  Raises:
    ValueError: The model holds a variable that is not a parameter; under raw
      `jit` its updates would be lost.
  """
  graphdef, params, other = nnx.split(model, nnx.Param, ...)
  if jax.tree.leaves(other):
    names = [
      jax.tree_util.keystr(p) for p, _ in jax.tree.leaves_with_path(other)
    ]
    raise ValueError(
      f'the model holds variables that are not nnx.Param: {names}; keep state '
      'without gradient in aux'
    )
  return graphdef, nnx.to_pure_dict(params)


def run_keys(seed: int) -> tuple[PRNGKey, PRNGKey, PRNGKey]:
  """Keys for the initial parameters, the steps and the evaluations."""
  init, step, evaluation = jax.random.split(jax.random.key(seed), 3)
  return init, step, evaluation


def abstract_state(
  objective: Objective,
  transform: optax.GradientTransformation,
  *,
  mesh: AnyMesh,
  rules: AxisRules = DEFAULT_RULES,
) -> tuple[nnx.GraphDef, TrainState]:
  """The model's static half and the state's shapes with their shardings.

  Raises:
    TrainingError: A parameter cannot be split over the mesh.
  """
  is_around = isinstance(objective, HasFrozen)
  frozen = jax.eval_shape(objective.frozen) if is_around else None
  graphdef, shapes = jax.eval_shape(
    lambda key, frozen: _initial(objective, transform, key, frozen),
    jax.random.key(0),
    frozen,
  )
  try:
    shardings = TrainState(
      params=param_specs(shapes.params, mesh, rules),
      opt_state=param_specs(shapes.opt_state, mesh, rules),
      aux=_aux_specs(shapes.aux, mesh, rules),
      step=replicated(mesh),
      failed_at=replicated(mesh),
    )
  except ValueError as error:
    raise TrainingError(f'{error}; change config.mesh') from error
  placed = jax.tree.map(
    lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
    shapes,
    shardings,
  )
  return graphdef, placed


def _aux_specs(aux: PyTree, mesh: AnyMesh, rules: AxisRules) -> PyTree:
  """Weights below the key 'frozen' lie like parameters; a copy of the rest."""
  if isinstance(aux, tuple) and not hasattr(aux, '_fields'):
    return tuple(_aux_specs(part, mesh, rules) for part in aux)
  placed = jax.tree.map(lambda _: replicated(mesh), aux)
  if isinstance(aux, dict) and 'frozen' in aux:
    placed = {**placed, 'frozen': param_specs(aux['frozen'], mesh, rules)}
  return placed


def make_create(
  objective: Objective,
  transform: optax.GradientTransformation,
  abstract: TrainState,
) -> Callable[[PRNGKey], TrainState]:
  """From a key to a fresh state, born where `abstract` says it lives."""
  shardings = jax.tree.map(lambda x: x.sharding, abstract)
  made = jax.jit(
    lambda key, frozen: _initial(objective, transform, key, frozen)[1],
    out_shardings=shardings,
  )

  def create(key: PRNGKey) -> TrainState:
    frozen = None
    if isinstance(objective, HasFrozen):
      frozen = jax.device_put(objective.frozen(), shardings.aux['frozen'])
    return made(key, frozen)

  return create


def _initial(
  objective: Objective,
  transform: optax.GradientTransformation,
  key: PRNGKey,
  frozen: PyTree | None,
) -> tuple[nnx.GraphDef, TrainState]:
  if frozen is None:
    model, aux = objective.init(key)
  else:
    model, aux = objective.init_around(key, frozen)
  graphdef, params = split_model(model)
  return graphdef, TrainState(
    params=params,
    opt_state=transform.init(params),
    aux=aux,
    step=jnp.zeros((), jnp.int32),
    failed_at=jnp.full((), -1, jnp.int32),
  )


def make_step(
  objective: Objective,
  transform: optax.GradientTransformation,
  graphdef: nnx.GraphDef,
  abstract: TrainState,
  key: PRNGKey,
  *,
  mesh: Mesh,
  rules: AxisRules = DEFAULT_RULES,
  micro_batches: int = 1,
) -> Step:
  """The jitted step: state (donated) and batch to state and metrics.

  A step whose loss or gradient norm is not finite changes nothing but
  `failed_at`. Of several micro-batches, which need less memory, the gradients
  are averaged: each loss is a mean over its own rows.
  """

  def loss_of(params: PyTree, aux: PyTree, batch: Batch, key: PRNGKey):
    model = nnx.merge(graphdef, params)
    return objective.loss(model, aux, batch, key, train=True)

  gradient_of = jax.value_and_grad(loss_of, has_aux=True)
  if micro_batches > 1:
    gradient_of = _in_parts(gradient_of, micro_batches, mesh, rules)

  def step(state: TrainState, batch: Batch):
    step_key = jax.random.fold_in(key, state.step)
    (loss, (aux, metrics)), grads = gradient_of(
      state.params, state.aux, batch, step_key
    )
    norm = jnp.sqrt(sum(jnp.sum(jnp.square(g)) for g in jax.tree.leaves(grads)))
    updates, opt_state = transform.update(grads, state.opt_state, state.params)
    is_finite = jnp.isfinite(loss) & jnp.isfinite(norm)
    is_good = is_finite & (state.failed_at < 0)
    new = TrainState(
      params=optax.apply_updates(state.params, updates),
      opt_state=opt_state,
      aux=aux,
      step=state.step + 1,
      failed_at=state.failed_at,
    )
    kept = jax.tree.map(lambda a, b: jnp.where(is_good, a, b), new, state)
    failed_at = jnp.where(
      is_finite | (state.failed_at >= 0), state.failed_at, state.step + 1
    )
    metrics = with_loss(metrics, loss) | {'gradient_norm': as_mean(norm)}
    return dataclasses.replace(kept, failed_at=failed_at), metrics

  shardings = jax.tree.map(lambda x: x.sharding, abstract)
  return jax.jit(
    step,
    in_shardings=(shardings, batch_sharding(mesh, rules)),
    out_shardings=(shardings, replicated(mesh)),
    donate_argnums=0,
  )


def _in_parts(
  gradient_of: Callable, number: int, mesh: Mesh, rules: AxisRules
) -> Callable:
  """The same of rows in turn: the mean of losses and gradients."""

  def dealt(x: jax.Array) -> jax.Array:
    # Every device keeps its rows.
    parts = x.reshape(-1, number, *x.shape[1:]).swapaxes(0, 1)
    axes = (None, 'batch', 'length', *(None,) * x.ndim)[: parts.ndim]
    return shard(parts, *axes, rules=rules)

  def gradient(params: PyTree, aux: PyTree, batch: Batch, key: PRNGKey):
    rows = batch['segment_ids'].shape[0]
    if rows % (number * mesh.shape['data']):
      raise TrainingError(
        f'a batch of {rows} rows over {mesh.shape["data"]} devices cannot be '
        f'cut into {number} micro-batches: change config.data.batch_size or '
        'config.train.micro_batches'
      )

    def add(carry, given):
      aux, total = carry
      part, part_key = given
      (loss, (aux, metrics)), found = gradient_of(params, aux, part, part_key)
      total = jax.tree.map(jnp.add, total, found)
      return (aux, total), (loss, metrics)

    zero = jax.tree.map(jnp.zeros_like, params)
    parts = jax.tree.map(dealt, batch), jax.random.split(key, number)
    (aux, total), (losses, metrics) = jax.lax.scan(add, (aux, zero), parts)
    mean = jax.tree.map(lambda g: g / number, total)
    metrics = jax.tree.map(lambda x: x.sum(0), metrics)
    return (losses.mean(), (aux, metrics)), mean

  return gradient


def with_loss(metrics: dict[str, Mean], loss: jax.Array) -> dict[str, Mean]:
  """`metrics` with the scalar loss where the objective gives none itself."""
  return metrics if 'loss' in metrics else {'loss': as_mean(loss), **metrics}


def as_mean(value: jax.Array) -> Mean:
  """A single value as a mean."""
  return Mean(value.astype(jnp.float32), jnp.ones((), jnp.float32))


def to_device(
  batch: dict[str, np.ndarray], mesh: Mesh, rules: AxisRules = DEFAULT_RULES
) -> Batch:
  """This process's rows as part of the global, sharded batch.

  Raises:
    TrainingError: The rows or their length do not divide over the mesh.
  """
  sharding = batch_sharding(mesh, rules)
  reader, readers = processes.reader(mesh)
  rows, length = batch['segment_ids'].shape
  num_rows = rows * readers
  if num_rows % mesh.shape['data'] or length % mesh.shape['seq']:
    raise TrainingError(
      f'a batch of {num_rows} rows of {length} bases cannot be split over a '
      f'mesh of {dict(mesh.shape)}: change config.data or config.mesh'
    )

  def placed(array: np.ndarray) -> jax.Array:
    def piece(index: tuple[slice, ...]) -> np.ndarray:
      wanted = range(num_rows)[index[0]]
      first = wanted.start - reader * rows
      return array[(slice(first, first + len(wanted)), *index[1:])]

    shape = num_rows, *array.shape[1:]
    return jax.make_array_from_callback(shape, sharding, piece)

  return {name: placed(array) for name, array in batch.items()}


def parameters_sha256(params: Any) -> str:
  """Hash of names, types, shapes and bytes of all parameters."""
  digest = hashlib.sha256()
  for path, leaf in jax.tree.leaves_with_path(params):
    array = np.asarray(jax.device_get(leaf))
    name = jax.tree_util.keystr(path, simple=True, separator='/')
    digest.update(f'{name} {array.dtype} {array.shape}\n'.encode())
    digest.update(np.ascontiguousarray(array).tobytes())
  return digest.hexdigest()
