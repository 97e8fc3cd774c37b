"""A linear probe on a frozen encoder, beside random weights and k-mers."""

import dataclasses
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float32

from backbone.array_types import Batch
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

  bases_per_batch: int = 6_144
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
    'amino_acid': np.full(shape, records.NO_RESIDUE, np.uint8),
    'genetic_code': np.full(shape, genetic_code, np.uint8),
    'soft_mask': np.zeros(shape, bool),
    'codon_is_sampled': np.zeros(shape, bool),
  }


def _pooling_weights(
  sequences: list[np.ndarray], shape: tuple[int, int], pooling: str
) -> Float32[np.ndarray, 'B T']:
  """What each unit counts for in the vector of its row."""
  weights = np.zeros((shape[0], shape[1] // 3), np.float32)
  for row, sequence in enumerate(sequences):
    num_units = -(-sequence.size // 3)
    if pooling == 'mean':
      weights[row, :num_units] = 1 / num_units
    else:
      weights[row, num_units // 2] = 1
  return weights


class Features:
  """Makes pooled features of tasks.

  Models of one architecture share a compilation, and so do tasks of one length.
  """

  def __init__(self, encode: Encode, config: ProbeConfig):
    self._config = config

    def run(state, graph, batch: Batch, weights: jax.Array) -> jax.Array:
      hidden = encode(nnx.merge(graph, state), batch)
      return jnp.einsum('btd,bt->bd', hidden.astype(jnp.float32), weights)

    self._run = jax.jit(run, static_argnames='graph')

  def __call__(self, model: nnx.Module, task: Task) -> np.ndarray:
    """Features [examples, D] in the task's order."""
    config = self._config
    graph, state = nnx.split(model)
    multiple = config.row_multiple
    longest = max(sequence.size for sequence in task.sequences)
    num_bases = -(-longest // multiple) * multiple
    shape = max(1, config.bases_per_batch // num_bases), num_bases
    made = []
    for first in range(0, len(task.sequences), shape[0]):
      rows = list(task.sequences[first : first + shape[0]])
      batch = pack(rows, shape, config.genetic_code)
      weights = _pooling_weights(rows, shape, task.pooling)
      pooled = self._run(state, graph, batch, weights)
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
  features = Features(encode, config)
  models = {'pretrained': model, 'random_weights': random_model}
  rows = []
  for task in tasks:
    scores = {
      column: evaluate(task, features(encoder, task), config.bootstrap)
      for column, encoder in models.items()
    }
    scores['kmer'], _ = kmer.evaluate(task, config.bootstrap, config.baseline)
    rows += [
      table.row(name, task.name, task.metric, column, score, seed=seed)
      for column, score in scores.items()
    ]
  return rows
