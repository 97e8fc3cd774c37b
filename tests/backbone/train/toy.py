"""A small masked predictor and a data source that tests train on."""

import dataclasses
import itertools
import zlib

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from backbone.array_types import Mean
from data_pipelines.endless import local_rows

VOCABULARY = 'ACGTN'


class Dense(nnx.Module):
  """A kernel and a bias, under names that the sharding rules know."""

  def __init__(self, rows: int, columns: int, *, rngs: nnx.Rngs):
    values = jax.random.uniform(rngs.params(), (rows, columns), minval=-1)
    self.kernel = nnx.Param(values * (3 / rows) ** 0.5)
    self.bias = nnx.Param(jnp.zeros(columns))

  def __call__(self, x):
    return x @ self.kernel[...] + self.bias[...]


class Predictor(nnx.Module):
  """Predicts a base from its neighbours."""

  def __init__(self, width: int, *, rngs: nnx.Rngs):
    self.table = nnx.Param(jax.random.uniform(rngs.params(), (6, width)) - 0.5)
    self.up = Dense(3 * width, 2 * width, rngs=rngs)
    self.down = Dense(2 * width, width, rngs=rngs)
    self.head = Dense(width, 4, rngs=rngs)

  def __call__(self, ids):
    x = self.table[...][ids]
    x = jnp.concatenate([jnp.roll(x, 1, 1), x, jnp.roll(x, -1, 1)], -1)
    return self.head(jax.nn.gelu(self.down(jax.nn.gelu(self.up(x)))))


@dataclasses.dataclass(frozen=True)
class Toy:
  """Masks bases and predicts them; `aux` counts the steps."""

  width: int = 8
  mask_rate: float = 0.3
  poison_at: int = -1
  vocabulary: str = VOCABULARY

  def init(self, key):
    """The model, and a step counter as state without gradient."""
    model = Predictor(self.width, rngs=nnx.Rngs(key))
    return model, {'calls': jnp.zeros((), jnp.int32)}

  def loss(self, model, aux, batch, key, *, train):
    """Mean cross-entropy of the masked bases of a segment."""
    is_real = (batch['segment_ids'] > 0) & (batch['sequence'] < 4)
    ids = jnp.where(is_real, batch['sequence'], 5).astype(jnp.int32)
    draw = jax.random.uniform(key, ids.shape)
    is_masked = is_real & (draw < self.mask_rate)
    logits = model(jnp.where(is_masked, 4, ids))
    chosen = jnp.take_along_axis(
      jax.nn.log_softmax(logits), jnp.minimum(ids, 3)[..., None], -1
    )[..., 0]
    weight = is_masked.sum().astype(jnp.float32)
    mean = Mean(-(chosen * is_masked).sum(), weight)
    loss = mean.total / jnp.maximum(weight, 1)
    if train:
      is_poisoned = aux['calls'] == self.poison_at
      loss = loss * jnp.where(is_poisoned, jnp.nan, 1.0)
      aux = {'calls': aux['calls'] + 1}
    return loss, (aux, {'loss': mean})


class ToyIterator:
  """Batches drawn from (seed, position)."""

  def __init__(self, data: 'ToyData', rows: slice = slice(None)):
    self._data = data
    self._rows = rows
    self._position = 0

  def __iter__(self):
    return self

  def __next__(self):
    self._position += 1
    batch = self._data.batch(self._position - 1)
    batch = {name: array[self._rows] for name, array in batch.items()}
    if self._data.log:
      self._write_down(batch['sequence'])
    return batch

  def _write_down(self, sequence):
    first = self._rows.start or 0
    with open(self._data.log, 'a') as file:
      for row, bases in enumerate(sequence, first):
        crc = zlib.crc32(bases.tobytes())
        file.write(f'{self._position - 1} {row} {crc}\n')

  def get_state(self):
    """The position."""
    return {'position': self._position}

  def set_state(self, state):
    """Goes back to a position."""
    self._position = state['position']


@dataclasses.dataclass(frozen=True)
class ToyData:
  """A repeated motif with noise, some rows padded.

  Attributes:
    log: A file that is told of every row that is read, if any.
  """

  batch_size: int = 8
  row_length: int = 24
  seed: int = 0
  path: str = ''
  manifest: str = 'toy'
  log: str = ''

  def batch(self, i: int) -> dict[str, np.ndarray]:
    """Batch `i`, whoever asks."""
    rng = np.random.default_rng((self.seed, i))
    shape = (self.batch_size, self.row_length)
    start = rng.integers(0, 4, (self.batch_size, 1))
    sequence = (np.arange(self.row_length) + start) % 4
    noise = rng.random(shape) < 0.05
    sequence = np.where(noise, rng.integers(0, 4, shape), sequence)
    segment_ids = np.ones(shape, np.int32)
    segment_ids[::4, -6:] = 0
    sequence = np.where(segment_ids > 0, sequence, 5).astype(np.uint8)
    positions = np.arange(self.row_length) * segment_ids
    return {
      'sequence': sequence,
      'segment_ids': segment_ids,
      'positions': positions.astype(np.int32),
    }

  def train(self, *, process_id, num_processes):
    """The iterator over this process's rows."""
    rows = local_rows(self.batch_size, process_id, num_processes)
    return ToyIterator(self, slice(rows.start, rows.stop))

  def evaluation(self, split, *, max_rows, process_id=0, num_processes=1):
    """Batches that training never reaches."""
    del split
    batches = self.train(process_id=process_id, num_processes=num_processes)
    batches.set_state({'position': 10**6})
    number = max_rows // self.batch_size
    return [('toy', list(itertools.islice(batches, number)))]

  def manifest_hash(self):
    """Of the name alone."""
    return self.manifest


@dataclasses.dataclass(frozen=True)
class ToyTable:
  """Validation loss of the trained and of the random model."""

  split: str = 'validation'

  def rows(self, context):
    """One row per model."""
    from backbone.train import evaluate

    [(_, batches)] = context.data.evaluation(self.split, max_rows=32)
    rows = []
    for column, model, aux in (
      ('pretrained', context.model, context.aux),
      ('random_weights', context.random_model, context.random_aux),
    ):
      means = evaluate.evaluate(
        context.objective,
        model,
        aux,
        batches,
        key=jax.random.key(0),
        mesh=context.mesh,
      )
      value = means['loss'].value()
      rows.append(
        {
          'table': 'toy',
          'task': 'masked base',
          'split': self.split,
          'metric': 'loss',
          'column': column,
          'seed': context.seed,
          'value': value,
          'low': value - 0.05,
          'high': value + 0.05,
        }
      )
    return rows
