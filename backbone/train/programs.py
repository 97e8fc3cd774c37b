"""The jitted parts of a run."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import optax
from flax import nnx
from jax.sharding import Mesh

from backbone.sharding import AxisRules
from backbone.train.evaluate import Evaluate, make_evaluate
from backbone.train.objective import Objective
from backbone.train.state import (
  Step,
  TrainState,
  abstract_state,
  make_create,
  make_step,
  run_keys,
)


class Programs(NamedTuple):
  """What is jitted, and for what state.

  Attributes:
    graphdef: The model's static half.
    abstract: Shapes of the state, and where it lies.
    create: A fresh state, the same each time.
    step: From a state, which is given up, and a batch to the next.
    evaluate: Of parameters, aux and batches.
  """

  graphdef: nnx.GraphDef
  abstract: TrainState
  create: Callable[[], TrainState]
  step: Step
  evaluate: Evaluate


def make_programs(
  objective: Objective,
  transform: optax.GradientTransformation,
  *,
  micro_batches: int,
  mesh: Mesh,
  rules: AxisRules,
  seed: int,
) -> Programs:
  """Of one run; nothing is compiled yet.

  Raises:
    TrainingError: A parameter cannot be split over the mesh.
  """
  init_key, step_key, evaluation_key = run_keys(seed)
  placed = {'mesh': mesh, 'rules': rules}
  graphdef, abstract = abstract_state(objective, transform, **placed)
  create = make_create(objective, transform, abstract)
  return Programs(
    graphdef=graphdef,
    abstract=abstract,
    create=functools.partial(create, init_key),
    step=make_step(
      objective,
      transform,
      graphdef,
      abstract,
      step_key,
      micro_batches=micro_batches,
      **placed,
    ),
    evaluate=make_evaluate(objective, graphdef, evaluation_key, **placed),
  )
