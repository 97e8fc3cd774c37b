"""A linear probe on a frozen encoder, beside random weights and k-mers."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float32, Int

from backbone.array_types import Batch
from backbone.downstream import examples as examples_lib
from backbone.downstream import kmer, linear, metrics, table
from backbone.downstream.examples import Examples, UnitSample
from data_pipelines import records
from data_pipelines.tasks import Task

# encode(model, batch) -> [B, U, D], a vector for each unit of three bases.
Encode = Callable[[nnx.Module, Batch], jax.Array]

# Rows are as long as the longest sequence, or this many times halved.
_HALVINGS = 3


@dataclasses.dataclass(frozen=True)
class ProbeConfig:
  """How features are made and scores are reported.

  Attributes:
    bases_per_batch: Rows times bases of one call of the encoder.
    row_multiple: Rows are padded to a multiple of this many bases.
    units: How many labelled units are fitted and chosen on.
    bootstrap: Of the test score.
    baseline: Of the k-mer column.
  """

  bases_per_batch: int = 6_144
  row_multiple: int = 3
  units: UnitSample = dataclasses.field(default_factory=UnitSample)
  bootstrap: metrics.Bootstrap = dataclasses.field(
    default_factory=metrics.Bootstrap
  )
  baseline: kmer.KmerConfig = dataclasses.field(default_factory=kmer.KmerConfig)

  def __post_init__(self):
    if self.row_multiple % 3:
      raise ValueError(f'row_multiple {self.row_multiple} is not one of 3')


def pack(
  sequences: Sequence[np.ndarray],
  shape: tuple[int, int],
  genetic_code: int,
  kind: int = records.GENOME,
) -> dict[str, np.ndarray]:
  """One sequence to a row, in the packed format; rows left over are padding.

  A sequence that ends within a unit is filled up with N. CDS and proteins are
  codons from the first base on.
  """
  bases = np.full(shape, records.PAD, np.uint8)
  segment_ids = np.zeros(shape, np.int32)
  positions = np.zeros(shape, np.int32)
  for row, sequence in enumerate(sequences):
    whole = examples_lib.num_units(sequence) * 3
    bases[row, :whole] = records.N
    bases[row, : sequence.size] = sequence
    segment_ids[row, :whole] = 1
    positions[row, :whole] = np.arange(whole)
  codon_phase = np.full(shape, records.PHASE_NONE, np.uint8)
  if kind in (records.CDS, records.PROTEIN):
    codon_phase = np.where(segment_ids > 0, positions % 3, codon_phase)
  return {
    'sequence': bases,
    'segment_ids': segment_ids,
    'positions': positions,
    'kind': np.full(shape, kind, np.uint8),
    'codon_phase': codon_phase.astype(np.uint8),
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
    num_units = examples_lib.num_units(sequence)
    if pooling == 'mean':
      weights[row, :num_units] = 1 / num_units
    else:
      weights[row, num_units // 2] = 1
  return weights


def _row_lengths(
  sequences: Sequence[np.ndarray], multiple: int
) -> Int[np.ndarray, 'e']:
  """Bases of the row each sequence is put in: few lengths, little padding."""
  sizes = np.array([sequence.size for sequence in sequences])
  halved = sizes.max() / 2 ** np.arange(_HALVINGS + 1)
  lengths = np.unique(np.ceil(halved / multiple).astype(int) * multiple)
  return lengths[np.searchsorted(lengths, sizes)]


class Features:
  """Makes features of tasks: a row per example, in `examples.of_task`'s order.

  Models of one architecture share a compilation, and so do tasks of one length.
  """

  def __init__(self, encode: Encode, config: ProbeConfig):
    self._config = config

    def hidden(state, graph, batch: Batch) -> jax.Array:
      return encode(nnx.merge(graph, state), batch).astype(jnp.float32)

    def pooled(state, graph, batch: Batch, weights: jax.Array) -> jax.Array:
      return jnp.einsum('btd,bt->bd', hidden(state, graph, batch), weights)

    self._hidden = jax.jit(hidden, static_argnames='graph')
    self._pooled = jax.jit(pooled, static_argnames='graph')

  def __call__(
    self, model: nnx.Module, task: Task
  ) -> Float32[np.ndarray, 'e _']:
    """Of pairs both vectors, their product and their distance, side by side."""
    if task.pooling == 'unit':
      return self._of_units(model, task)
    first = self._of_sequences(model, task, task.sequences, task.kind)
    if task.partners is None:
      return first
    second = self._of_sequences(model, task, task.partners, task.partner_kind)
    parts = [first, second, first * second, abs(first - second)]
    return np.concatenate(parts, -1)

  def _batches(
    self, task: Task, sequences: Sequence[np.ndarray], kind: int
  ) -> Iterator[tuple[Int[np.ndarray, '_'], list[np.ndarray], Batch]]:
    """Which sequences are in the next batch, themselves, and packed."""
    config = self._config
    lengths = _row_lengths(sequences, config.row_multiple)
    for num_bases in np.unique(lengths).tolist():
      shape = max(1, config.bases_per_batch // num_bases), num_bases
      members = np.flatnonzero(lengths == num_bases)
      for first in range(0, members.size, shape[0]):
        index = members[first : first + shape[0]]
        rows = [sequences[i] for i in index]
        yield index, rows, pack(rows, shape, task.genetic_code, kind)

  def _of_sequences(
    self,
    model: nnx.Module,
    task: Task,
    sequences: Sequence[np.ndarray],
    kind: int,
  ) -> Float32[np.ndarray, 'e D']:
    graph, state = nnx.split(model)
    # A molecule of many pairs is encoded once.
    keys = [sequence.tobytes() for sequence in sequences]
    place = {key: i for i, key in enumerate(keys)}
    used, which = np.unique([place[key] for key in keys], return_inverse=True)
    distinct = [sequences[i] for i in used]
    indices, made = [], []
    for index, rows, batch in self._batches(task, distinct, kind):
      weights = _pooling_weights(rows, batch['sequence'].shape, task.pooling)
      pooled = self._pooled(state, graph, batch, weights)
      indices.append(index)
      made.append(np.asarray(pooled)[: index.size])
    vectors = np.concatenate(made)[np.argsort(np.concatenate(indices))]
    return vectors[which]

  def _of_units(
    self, model: nnx.Module, task: Task
  ) -> Float32[np.ndarray, 'e D']:
    graph, state = nnx.split(model)
    examples = examples_lib.of_task(task, self._config.units)
    bounds = np.searchsorted(
      examples.sequence, np.arange(len(task.sequences) + 1)
    )
    made: list[np.ndarray] = [np.zeros(0)] * len(task.sequences)
    for index, _, batch in self._batches(task, task.sequences, task.kind):
      hidden = np.asarray(self._hidden(state, graph, batch))
      for row, i in enumerate(index.tolist()):
        units = examples.unit[bounds[i] : bounds[i + 1]]
        made[i] = hidden[row, units]
    return np.concatenate(made)


def evaluate(
  examples: Examples, features: np.ndarray, bootstrap: metrics.Bootstrap
) -> metrics.Score:
  """The test score of a linear model on features, tuned on validation."""
  model, _ = linear.fit(examples, features)
  return linear.test_score(examples, model, features, bootstrap)


def run(
  tasks: Iterable[Task],
  encode: Encode,
  model: nnx.Module,
  random_model: nnx.Module,
  seed: int,
  name: str,
  config: ProbeConfig | None = None,
) -> list[table.Row]:
  """Rows of the table `name`: per task pretrained, random weights, k-mers.

  The row of the k-mers says in `features` which were chosen.
  """
  config = config or ProbeConfig()
  features = Features(encode, config)
  models = {'pretrained': model, 'random_weights': random_model}
  rows = []
  for task in tasks:
    examples = examples_lib.of_task(task, config.units)
    scores = {
      column: evaluate(examples, features(encoder, task), config.bootstrap)
      for column, encoder in models.items()
    }
    scores['kmer'], chosen = kmer.evaluate(
      task, config.bootstrap, config.baseline, config.units
    )
    rows += [
      table.row(name, task.name, task.metric, column, score, seed=seed)
      for column, score in scores.items()
    ]
    rows[-1]['features'] = chosen
  return rows
