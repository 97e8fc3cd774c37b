"""Examples of a task as batches of a few shapes, every example once."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np
from jaxtyping import Int

from backbone.array_types import PyTree
from backbone.downstream import probe
from backbone.downstream.examples import num_units
from backbone.downstream.targets import has_label
from data_pipelines import central_dogma
from data_pipelines.tasks import Task

# Tokens [t, levels] of every sequence, made once for all epochs.
Read = Callable[[Sequence[np.ndarray]], list[np.ndarray]]


@dataclasses.dataclass(frozen=True)
class BatchShape:
  """How examples become batches.

  Attributes:
    batch_size: Examples of one update.
    bases_per_call: Rows times bases of one call of the encoder; a batch that
      has more is taken in several, whose gradients add up.
    row_multiple: Rows are padded to a multiple of this many bases.
    num_lengths: Row lengths, at most: each is compiled.
  """

  batch_size: int = 32
  bases_per_call: int = 65_536
  row_multiple: int = 3
  num_lengths: int = 4

  def __post_init__(self):
    for field in dataclasses.fields(self):
      if getattr(self, field.name) < 1:
        raise ValueError(f'{field.name} must be at least 1')
    if self.row_multiple % 3:
      raise ValueError(f'row_multiple {self.row_multiple} is not one of 3')


class Batches:
  """The splits of a task in batches.

  A batch has `batch_size` examples of similar length. The last of a split is
  filled up with rows of no weight.
  """

  def __init__(
    self,
    task: Task,
    values: list[np.ndarray],
    shape: BatchShape,
    *,
    both_strands: bool = False,
    read: Read | None = None,
  ):
    """Fixes the row lengths, the same for all splits.

    Args:
      task: Where the examples are from.
      values: Targets of each example, as `Targets.values` has them.
      shape: Of the batches.
      both_strands: Whether examples are asked for on their other strand too.
      read: Makes the tokens of sequences, for encoders that take them from
        `inputs` under 'tokens', zero where there is none.
    """
    self._task = task
    self._values = values
    self._shape = shape
    sides = [(task.sequences, task.kind)]
    if task.partners is not None:
      sides.append((task.partners, task.partner_kind))
    self._sizes = np.max(
      [[sequence.size for sequence in side] for side, _ in sides], axis=0
    )
    self.num_strands = 1 + both_strands
    self._sides = []
    for sequences, kind in sides:
      every = list(sequences)
      if both_strands:
        every += [central_dogma.reverse_complement(x) for x in sequences]
      self._sides.append(_Side(every, kind, read and read(every)))
    self._lengths = _row_lengths(
      self._sizes, shape.num_lengths, shape.row_multiple
    )

  def num(self, split: str) -> int:
    """Batches of a split."""
    size = int(np.sum(np.asarray(self._task.split) == split))
    return -(-size // self._shape.batch_size)

  def of(
    self,
    split: str,
    rng: np.random.Generator | None = None,
    strand: int = 0,
  ) -> Iterator[tuple[Int[np.ndarray, 'e'], PyTree]]:
    """Indices of examples and their batch.

    With `rng` they are shuffled, and each is on a strand drawn for it; without
    all are on `strand`, 0 being that of the task.

    Arrays are [calls, rows, ...]; an example is a row of `target` and of
    `weight`, whose sum over the batch is 1. `inputs` are packed rows; of pairs
    the second sequences are in the rows after the first.
    """
    examples = np.flatnonzero(np.asarray(self._task.split) == split)
    groups = self._groups(examples, rng)
    if rng is not None:
      groups = [groups[at] for at in rng.permutation(len(groups))]
    for indices, length in groups:
      on = np.full(indices.size, strand)
      if rng is not None:
        on = rng.integers(self.num_strands, size=indices.size)
      yield indices, self._batch(indices, on, length)

  def _groups(
    self, examples: Int[np.ndarray, 'e'], rng: np.random.Generator | None
  ) -> list[tuple[Int[np.ndarray, '_'], int]]:
    """Examples of a batch and its row length; what is left goes one up."""
    size = self._shape.batch_size
    bucket = np.searchsorted(self._lengths, self._sizes[examples])
    groups, left = [], examples[:0]
    for at, length in enumerate(self._lengths[: bucket.max() + 1].tolist()):
      members = examples[bucket == at]
      if rng is not None:
        members = rng.permutation(members)
      members = np.concatenate([left, members])
      whole = members.size // size * size
      groups += [(group, length) for group in members[:whole].reshape(-1, size)]
      left = members[whole:]
    return [*groups, (left, length)] if left.size else groups

  def _batch(
    self, indices: Int[np.ndarray, 'e'], on: Int[np.ndarray, 'e'], length: int
  ) -> PyTree:
    shape = self._shape
    rows = max(1, shape.bases_per_call // (length * len(self._sides)))
    num_calls = -(-shape.batch_size // rows)
    rows = -(-shape.batch_size // num_calls)
    parts = [slice(at * rows, (at + 1) * rows) for at in range(num_calls)]
    calls = [
      self._call(indices[part], on[part], (rows, length)) for part in parts
    ]
    total = max(sum(call['weight'].sum() for call in calls), 1)
    for call in calls:
      call['weight'] /= total
    return jax.tree.map(lambda *arrays: np.stack(arrays), *calls)

  def _call(
    self,
    indices: Int[np.ndarray, 'e'],
    on: Int[np.ndarray, 'e'],
    shape: tuple[int, int],
  ) -> dict[str, PyTree]:
    """One call's examples; may be fewer than its rows, or none."""
    task = self._task
    which = indices + on * len(task.labels)
    packed = [
      side.packed(which, shape, task.genetic_code) for side in self._sides
    ]
    num_targets = shape[1] // 3 if task.pooling == 'unit' else 1
    target = np.zeros((shape[0], num_targets), self._values[0].dtype)
    weight = np.zeros((shape[0], num_targets), np.float32)
    for row, value in enumerate(self._values[index] for index in indices):
      target[row, : value.size] = value
      weight[row, : value.size] = has_label(value)
    return {
      'inputs': jax.tree.map(lambda *sides: np.concatenate(sides), *packed),
      'target': target,
      'weight': weight,
    }


@dataclasses.dataclass(frozen=True)
class _Side:
  """The first sequences of all examples, or the second of pairs.

  Attributes:
    sequences: Of each example; then the same on the other strand, if asked for.
    kind: Index into `records.KINDS`.
    tokens: Of each sequence, where they are made beforehand.
  """

  sequences: Sequence[np.ndarray]
  kind: int
  tokens: Sequence[np.ndarray] | None

  def packed(
    self,
    indices: Int[np.ndarray, 'e'],
    shape: tuple[int, int],
    genetic_code: int,
  ) -> dict[str, np.ndarray]:
    """Rows of the examples, and rows of padding."""
    chosen = [self.sequences[i] for i in indices]
    inputs = probe.pack(chosen, shape, genetic_code, self.kind)
    if self.tokens is None:
      return inputs
    first = self.tokens[0]
    stride = 3 * num_units(self.sequences[0]) // len(first)
    rows = np.zeros((shape[0], shape[1] // stride, *first.shape[1:]), np.int32)
    for row, index in enumerate(indices):
      rows[row, : len(self.tokens[index])] = self.tokens[index]
    return {**inputs, 'tokens': rows}


def _row_lengths(
  sizes: Int[np.ndarray, 'e'], num_lengths: int, multiple: int
) -> Int[np.ndarray, 'l']:
  """Lengths that as many sequences fit each, in bases."""
  shares = np.arange(1, num_lengths + 1) / num_lengths
  sizes = np.quantile(sizes, shares, method='higher')
  return np.unique(-(-sizes // multiple) * multiple)
