"""Runs as they would be, of files and weights that need not be here.

What a step costs does not depend on what weights and data hold, so that both
may be shapes alone.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx
from jax.sharding import Mesh

from backbone.array_types import PyTree
from backbone.sharding import AxisRules
from backbone.train import state
from backbone.train.objective import Objective
from data_pipelines.rows import PACKED
from experiments import command_line, common
from lifecode.teacher import esm2
from lifecode.teacher.features import Online
from vqdna.objective import VocabularyLearning
from vqdna.vocabulary import Frozen, state_of

Shapes = dict[str, jax.ShapeDtypeStruct]


@dataclasses.dataclass(frozen=True)
class Untrained(Online):
  """A teacher of a public size without its weights, which cost no time.

  Attributes:
    weights: The size, as '650m'.
  """

  dtype: str = 'bfloat16'

  def __post_init__(self):
    if self.weights not in esm2.SIZES:
      raise ValueError(
        f'no ESM-2 of size {self.weights!r}: choose from '
        f'{", ".join(esm2.SIZES)}'
      )

  @property
  def _config(self) -> esm2.ESM2Config:
    return dataclasses.replace(esm2.SIZES[self.weights], dtype=self.dtype)

  @property
  def label(self) -> str:
    return f'ESM-2 {self.weights}, random weights'

  def init(self) -> PyTree:
    model = esm2.ESM2(self._config, key=jax.random.key(0))
    return nnx.to_pure_dict(nnx.state(model, nnx.Param))


@dataclasses.dataclass(frozen=True, eq=False)
class UntrainedVocabulary(Frozen):
  """A vocabulary of random weights and codes, which cost no time.

  Attributes:
    path: The size in experiments/vqdna/tokenizer.py, as '16m'.
  """

  has_met_masks = True

  @property
  def hash(self) -> str:
    return f'untrained {self.path}'

  @functools.cached_property
  def _learning(self) -> VocabularyLearning:
    config = command_line.load_config(
      'experiments/vqdna/tokenizer.py', self.path
    )
    return common.build(config.objective.to_dict(), 'config.objective')

  def init(self) -> PyTree:
    return state_of(*self._learning.init(jax.random.key(0)))


# Of weights that a configuration leaves empty: the key, what stands there, and
# the class that draws them.
_UNTRAINED = {
  'lifecode.teacher.features:Online': (
    'weights',
    '650m',
    'experiments.planned:Untrained',
  ),
  'vqdna.vocabulary:Frozen': (
    'path',
    '16m',
    'experiments.planned:UntrainedVocabulary',
  ),
}


def objective(config: Mapping[str, Any], arg: str) -> Objective:
  """That of a run; weights that are not here are drawn, of a public size.

  Args:
    config: Of the run. What stands where it names weights is a folder, or such
      a size; empty is the size published with the paper.
    arg: Behind the experiment's file; a frozen language model's size.
  """
  return common.build(
    _without_weights(config['objective'], arg.split(',')[0]),
    'config.objective',
  )


def _without_weights(value: Any, size: str) -> Any:
  if not isinstance(value, Mapping):
    return value
  made = {key: _without_weights(part, size) for key, part in value.items()}
  if value.get('name') in _UNTRAINED:
    key, published, name = _UNTRAINED[value['name']]
    made[key] = made[key] or published
    if not pathlib.Path(made[key]).exists():
      made['name'] = name
  elif value.get('name') == 'gta.language.frozen:Frozen':
    made['weights'] = made['weights'] or size
  return made


def batch(config: Mapping[str, Any]) -> Shapes:
  """What a step of the run is given.

  Raises:
    common.ConfigError: Nothing here knows batches of that data source.
  """
  known = {
    'data_pipelines.pipeline:Shards': _packed,
    'data_pipelines.genes.dataset:GeneWindows': _genes,
  }
  name = config['data']['name']
  if name not in known:
    raise common.ConfigError(
      f'config.data: the batches of {name} are not known before they are read; '
      f'known are those of {", ".join(known)}'
    )
  return {
    key: jax.ShapeDtypeStruct(*given)
    for key, given in known[name](config).items()
  }


def _packed(config: Mapping[str, Any]) -> dict[str, tuple]:
  if 'features' in config['data']:
    raise common.ConfigError(
      'config.data.features: cached features are not known before they are read'
    )
  shape = config['data']['batch_size'], config['data']['row_length']
  return {name: (shape, dtype) for name, (dtype, _) in PACKED.items()}


def _genes(config: Mapping[str, Any]) -> dict[str, tuple]:
  """Of features that were computed before."""
  rows, prompt = config['data']['batch_size'], config['data']['max_prompt']
  model = config['objective']['model']
  trunk = model['trunk']
  if trunk['name'] != 'gta.trunk:CachedConfig':
    raise common.ConfigError(
      'config.objective.model.trunk: genes are planned on cached features only'
    )
  sections = config['objective']['window'] // model['section_bases']
  return {
    'features': ((rows, sections, trunk['width']), 'bfloat16'),
    'segment_ids': ((rows, sections), 'int32'),
    'prompt': ((rows, prompt), 'int32'),
    'is_prompt': ((rows, prompt), 'bool'),
    'value': ((rows, 1), 'float32'),
    'weight': ((rows, 1), 'float32'),
  }


def tokens(config: Mapping[str, Any], shapes: Shapes) -> int:
  """Of all rows: what the model reads as one unit; of genes, sections."""
  rows, length = shapes['segment_ids'].shape
  if 'prompt' in shapes:
    return rows * (length + shapes['prompt'].shape[1])
  return rows * length // config['train'].get('bases_per_token', 3)


def trace(
  objective: Objective,
  transform: Any,
  mesh: Mesh,
  shapes: Shapes,
  rules: AxisRules,
  micro_batches: int = 1,
) -> tuple[Any, state.TrainState]:
  """A training step on `mesh`, traced, and the state it moves."""
  graphdef, abstract = state.abstract_state(
    objective, transform, mesh=mesh, rules=rules
  )
  step = state.make_step(
    objective,
    transform,
    graphdef,
    abstract,
    jax.random.key(0),
    mesh=mesh,
    rules=rules,
    micro_batches=micro_batches,
  )
  with jax.set_mesh(mesh):
    return step.trace(abstract, shapes), abstract


def num_parameters(tree: PyTree) -> int:
  """Numbers in all arrays of `tree`."""
  return sum(x.size for x in jax.tree.leaves(tree))


def bytes_of(tree: PyTree) -> int:
  """On one device, of arrays with shardings."""
  total = 0
  for x in jax.tree.leaves(tree):
    shape = x.sharding.shard_shape(x.shape)
    total += functools.reduce(int.__mul__, shape, 1) * x.dtype.itemsize
  return total
