"""Whether a training step fits on TPUs that are not here, and what it holds.

Compiled and costed by the TPU's own compiler; see `bench_step` for what its
time leaves out.
"""

import dataclasses
import functools
from collections.abc import Mapping

import jax
from flax import nnx
from ml_collections import ConfigDict

from backbone import sharding
from backbone.array_types import PyTree
from backbone.kernels import estimate
from backbone.model import preset
from backbone.train.objective import Objective
from experiments import bench_step, command_line, common
from lifecode.model import LifeCodeConfig
from lifecode.objective import pretrain
from lifecode.teacher import esm2
from lifecode.teacher.features import Online
from lifecode.tokenizers import ConvMerge
from lifecode.tokenizers.interface import CODON
from vqdna.objective import VocabularyLearning
from vqdna.vocabulary import Frozen, state_of


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


def masked_codes(size: str, vocabulary: str) -> Objective:
  """Stage 2 of VQDNA at a size of experiments/vqdna/pretrain.py."""
  config = command_line.load_config('experiments/vqdna/pretrain.py', size)
  objective = config.objective.to_dict()
  objective['tokens'] = UntrainedVocabulary(vocabulary)
  return common.build(objective, 'config.objective')


def masked(size: str) -> Objective:
  """Masked modelling alone, at a preset's size."""
  return bench_step.objective(preset(size))


def everything(size: str, teacher: str) -> Objective:
  """All objectives of Life-Code, with the teacher run beside the student."""
  backbone = preset(size)
  tokenizer = ConvMerge(base_width=backbone.width // 4)
  return pretrain(
    LifeCodeConfig(backbone, tokenizer),
    amino_acid_marginal=1.0,
    translation=1.0,
    distillation=0.5,
    teacher=Untrained(teacher),
  )


def aligned(language: str) -> Objective:
  """GTA at a size of experiments/gta/human.py, of random weights."""
  objective = _human(language).objective.to_dict()
  objective['language']['weights'] = language
  return common.build(objective, 'config.objective')


def genes(language: str, rows: int) -> dict[str, jax.ShapeDtypeStruct]:
  """A batch of `aligned`."""
  config = _human(language)
  model, prompt = config.objective.model, config.data.max_prompt
  sections = config.objective.window // model.section_bases
  shapes = {
    'features': ((rows, sections, model.trunk.width), 'bfloat16'),
    'segment_ids': ((rows, sections), 'int32'),
    'prompt': ((rows, prompt), 'int32'),
    'is_prompt': ((rows, prompt), 'bool'),
    'value': ((rows, 1), 'float32'),
    'weight': ((rows, 1), 'float32'),
  }
  return {k: jax.ShapeDtypeStruct(*given) for k, given in shapes.items()}


def _human(language: str) -> ConfigDict:
  return command_line.load_config('experiments/gta/human.py', language)


def measure(
  topology: str,
  objective: Objective,
  rows: int,
  num_bases: int,
  batch: Mapping[str, jax.ShapeDtypeStruct] | None = None,
) -> dict:
  """What a step on `rows` rows of `num_bases` takes and holds.

  One row is split over all chips; several are dealt out, whole. A `batch` is
  given where it is not of packed rows.
  """
  compiler = estimate.Compiler(topology)
  axes = {'data': 1, 'seq': -1} if rows == 1 else {'data': -1}
  mesh = sharding.make_mesh(**axes, devices=compiler.devices)
  tokens = -(-num_bases // CODON)
  # Every chip has as many tokens of the row, which ends in padding.
  tokens += -tokens % mesh.shape['seq']
  traced, held = bench_step.trace(objective, mesh, rows, tokens, batch)
  cost = compiler.of(traced)
  memory = cost.memory
  return {
    'topology': topology,
    'chips': mesh.size,
    'rows': rows,
    'tokens': tokens,
    'of_a_row': (
      f'{CODON * tokens:,} bases'
      if batch is None
      else f'{batch["features"].shape[1]} sections and '
      f'{batch["prompt"].shape[1]} words'
    ),
    'parameters': bench_step.num_parameters(held.params),
    'parameters_of': {
      name: bench_step.num_parameters(part)
      for name, part in held.params.items()
    },
    'parameters_frozen': bench_step.num_parameters(held.aux),
    'argument_bytes': memory.argument_size_in_bytes,
    'temporary_bytes': memory.temp_size_in_bytes,
    'bytes_per_device': memory.temp_size_in_bytes
    + memory.argument_size_in_bytes,
    'estimated_seconds': cost.seconds,
    'moved_bytes': cost.moved,
  }


def format_measured(row: dict) -> str:
  """One sentence a figure."""
  moved = ', '.join(
    f'{kind} {size / 1e6:,.1f} MB'
    for kind, size in sorted(row['moved_bytes'].items())
  )
  parts = ', '.join(
    f'{name} {number:,}' for name, number in row['parameters_of'].items()
  )
  frozen = row['parameters_frozen']
  beside = f', and {frozen / 1e6:.1f} M frozen' if frozen else ''
  return (
    f'{row["parameters"] / 1e6:.1f} M parameters ({parts}){beside}; '
    f'{row["rows"]} x {row["of_a_row"]} over {row["chips"]} '
    f'chips of {row["topology"]}: compiles; '
    f'{row["bytes_per_device"] / 1e9:.2f} GB a chip '
    f'({row["argument_bytes"] / 1e9:.2f} GB of state and batch, '
    f'{row["temporary_bytes"] / 1e9:.2f} GB temporary); '
    f'{row["estimated_seconds"]:.2f} s a step, compiler-estimated. '
    f'A chip receives, a step: {moved or "nothing"}.'
  )
