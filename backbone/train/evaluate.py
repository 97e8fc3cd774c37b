"""Evaluation: sums the means of all batches and divides last."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterable
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from backbone.array_types import Batch, Mean, PRNGKey, PyTree
from backbone.sharding import (
  DEFAULT_RULES,
  AxisRules,
  batch_sharding,
  replicated,
)
from backbone.train.objective import Objective
from backbone.train.state import split_model, to_device, with_loss

Evaluate = Callable[
  [PyTree, PyTree, Iterable[dict[str, np.ndarray]]], dict[str, Mean]
]


def make_evaluate(
  objective: Objective,
  graphdef: nnx.GraphDef,
  key: PRNGKey,
  *,
  mesh: Mesh,
  rules: AxisRules = DEFAULT_RULES,
) -> Evaluate:
  """A function of (params, aux, batches), compiled once.

  Batch i always gets the same key, whatever the step, so that two evaluations
  of one model are equal and two models see the same masks.
  """

  def batch_metrics(params: PyTree, aux: PyTree, batch: Batch, i: jax.Array):
    model = nnx.merge(graphdef, params)
    batch_key = jax.random.fold_in(key, i)
    loss, (_, metrics) = objective.loss(
      model, aux, batch, batch_key, train=False
    )
    return with_loss(metrics, loss)

  jitted = jax.jit(
    batch_metrics,
    in_shardings=(None, None, batch_sharding(mesh, rules), None),
    out_shardings=replicated(mesh),
  )

  def evaluate(params, aux, batches) -> dict[str, Mean]:
    total: dict[str, Mean] = {}
    with jax.set_mesh(mesh):
      for i, batch in enumerate(batches):
        metrics = jitted(
          params, aux, to_device(batch, mesh, rules), np.int32(i)
        )
        # Summed in the order of the batches: the same float every time.
        total = {
          name: total[name] + mean if name in total else mean
          for name, mean in metrics.items()
        }
    return {name: Mean(*jax.device_get(mean)) for name, mean in total.items()}

  return evaluate


def evaluate_sources(
  run: Evaluate,
  params: PyTree,
  aux: PyTree,
  sources: Iterable[tuple[str, Iterable[dict[str, np.ndarray]]]],
) -> dict[str, Mean]:
  """Means over all sources, and of each as `label/name` if there are more."""
  by_label = {label: run(params, aux, batches) for label, batches in sources}
  total: dict[str, Mean] = {}
  for means in by_label.values():
    for name, mean in means.items():
      total[name] = total[name] + mean if name in total else mean
  if len(by_label) > 1:
    for label, means in by_label.items():
      total |= {f'{label}/{name}': mean for name, mean in means.items()}
  return total


def evaluate(
  objective: Objective,
  model: nnx.Module,
  aux: PyTree,
  batches: Iterable[dict[str, np.ndarray]],
  *,
  key: PRNGKey,
  mesh: Mesh,
) -> dict[str, Mean]:
  """One evaluation of a model; see `make_evaluate`."""
  graphdef, params = split_model(model)
  run = make_evaluate(objective, graphdef, key, mesh=mesh)
  return run(params, aux, batches)


@dataclasses.dataclass(frozen=True)
class Context:
  """What a finished run hands to its results tables.

  Attributes:
    objective: The one trained.
    model: The trained model.
    aux: The trained state without gradient.
    random_model: The model as initialised, before the first step.
    random_aux: The aux that belongs to it.
    data: The built data source of the run.
    mesh: Where the arrays live.
    seed: Of the run.
    workdir: Of the run; a table may cache below it.
  """

  objective: Objective
  model: nnx.Module
  aux: PyTree
  random_model: nnx.Module
  random_aux: PyTree
  data: Any
  mesh: Mesh
  seed: int
  workdir: pathlib.Path


@runtime_checkable
class Table(Protocol):
  """A results table, computed from a finished run."""

  def rows(self, context: Context) -> list[dict[str, Any]]:
    """Rows of table, task, split, metric, column, seed, value, low, high.

    PNG files that it leaves in `workdir/pictures` are shown in the report.
    """
