"""A linear probe on a frozen encoder, beside random weights and k-mers."""

import dataclasses
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from backbone.array_types import Array, Batch, Float
from backbone.downstream import kmer, linear, metrics, table
from data_pipelines import records
from data_pipelines.tasks import Task

Encode = Callable[[nnx.Module, Batch], jax.Array]


@dataclasses.dataclass(frozen=True)
class ProbeConfig:
  """How features are made and scores are reported.

  Attributes:
    bases_per_batch: Rows times bases of one call of the encoder.
    row_multiple: Rows are padded to a multiple of this many bases.
    genetic_code: Put in every batch.
    bootstrap: Of the test score.
    baseline: Of the k-mer column.
  """

  bases_per_batch: int = 24_576
  row_multiple: int = 3
  genetic_code: int = 1
  bootstrap: metrics.Bootstrap = dataclasses.field(
    default_factory=metrics.Bootstrap
  )
  baseline: kmer.KmerConfig = dataclasses.field(default_factory=kmer.KmerConfig)

  def __post_init__(self):
    if self.row_multiple % 3:
      raise ValueError(f'row_multiple {self.row_multiple} is not one of 3')


def pack(
  sequences: list[np.ndarray], shape: tuple[int, int], genetic_code: int
) -> dict[str, np.ndarray]:
  """One sequence to a row, in the packed format; rows left over are padding.

  A sequence that ends within a unit is filled up with N.
  """
  bases = np.full(shape, records.PAD, np.uint8)
  segment_ids = np.zeros(shape, np.int32)
  positions = np.zeros(shape, np.int32)
  for row, sequence in enumerate(sequences):
    whole = -(-sequence.size // 3) * 3
    bases[row, :whole] = records.N
    bases[row, : sequence.size] = sequence
    segment_ids[row, :whole] = 1
    positions[row, :whole] = np.arange(whole)
  return {
    'sequence': bases,
    'segment_ids': segment_ids,
    'positions': positions,
    'kind': np.full(shape, records.GENOME, np.uint8),
    'codon_phase': np.full(shape, records.PHASE_NONE, np.uint8),
    'genetic_code': np.full(shape, genetic_code, np.uint8),
    'soft_mask': np.zeros(shape, bool),
    'codon_is_sampled': np.zeros(shape, bool),
  }


def _pool(
  hidden: Float[Array, 'B T D'], batch: Batch, pooling: str
) -> Float[Array, 'B D']:
  is_valid = (batch['segment_ids'] > 0)[:, ::3]
  num_valid = is_valid.sum(-1)
  if pooling == 'mean':
    weight = is_valid / jnp.maximum(num_valid, 1)[:, None]
    return jnp.einsum('btd,bt->bd', hidden.astype(jnp.float32), weight)
  centre = (num_valid // 2)[:, None, None]
  picked = jnp.take_along_axis(hidden, centre, axis=1)[:, 0]
  return picked.astype(jnp.float32)


class Features:
  """Makes pooled features of tasks; compiles once per row length."""

  def __init__(self, encode: Encode, model: nnx.Module, config: ProbeConfig):
    graph, state = nnx.split(model)
    self._state = state
    self._config = config

    def run(state, batch: Batch, pooling: str) -> jax.Array:
      hidden = encode(nnx.merge(graph, state), batch)
      return _pool(hidden, batch, pooling)

    self._run = jax.jit(run, static_argnames='pooling')

  def __call__(self, task: Task) -> np.ndarray:
    """Features [examples, D] in the task's order."""
    config = self._config
    multiple = config.row_multiple
    longest = max(sequence.size for sequence in task.sequences)
    num_bases = -(-longest // multiple) * multiple
    num_rows = max(1, config.bases_per_batch // num_bases)
    made = []
    for first in range(0, len(task.sequences), num_rows):
      rows = list(task.sequences[first : first + num_rows])
      batch = pack(rows, (num_rows, num_bases), config.genetic_code)
      pooled = self._run(self._state, batch, pooling=task.pooling)
      made.append(np.asarray(pooled)[: len(rows)])
    return np.concatenate(made)


def evaluate(
  task: Task, features: np.ndarray, bootstrap: metrics.Bootstrap
) -> metrics.Score:
  """The test score of a linear model on features, tuned on validation."""
  model, _ = linear.fit(task, features)
  return linear.test_score(task, model, features, bootstrap)


def run(
  tasks: Iterable[Task],
  encode: Encode,
  model: nnx.Module,
  random_model: nnx.Module,
  seed: int,
  name: str,
  config: ProbeConfig | None = None,
) -> list[table.Row]:
  """Rows of the table `name`: per task pretrained, random weights, k-mers."""
  config = config or ProbeConfig()
  encoders = {
    'pretrained': Features(encode, model, config),
    'random_weights': Features(encode, random_model, config),
  }
  rows = []
  for task in tasks:
    scores = {
      column: evaluate(task, features(task), config.bootstrap)
      for column, features in encoders.items()
    }
    scores['kmer'], _ = kmer.evaluate(task, config.bootstrap, config.baseline)
    rows += [
      table.row(name, task.name, task.metric, column, score, seed=seed)
      for column, score in scores.items()
    ]
  return rows
