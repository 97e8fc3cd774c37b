"""Probe, k-mer baseline and table on toys whose answer is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from backbone.downstream import kmer, metrics, probe, table
from data_pipelines import records
from data_pipelines.tasks import Task

CODONS = 64


class FakeEncoder(nnx.Module):
  """Units as rows of a table."""

  def __init__(self, units):
    self.units = nnx.Param(units)


def encode(model, batch):
  bases = jnp.minimum(batch['sequence'].astype(jnp.int32), 3)
  units = bases.reshape(bases.shape[0], -1, 3) @ jnp.array([16, 4, 1])
  return model.units[...][units]


def knowing():
  return FakeEncoder(jnp.eye(CODONS))


def ignorant():
  return FakeEncoder(jnp.ones((CODONS, 4)))


def _splits(num):
  return np.array(['train', 'validation', 'test', 'test'])[np.arange(num) % 4]


def _centre_task(num=160):
  """The class is the first base of the centre unit."""
  rng = np.random.default_rng(0)
  sequences = [
    rng.integers(0, 4, rng.integers(4, 12) * 3).astype(np.uint8)
    for _ in range(num)
  ]
  labels = [s[s.size // 3 // 2 * 3] > 1 for s in sequences]
  return Task(
    'centre', sequences, np.array(labels), _splits(num), 'mcc', 'centre'
  )


def _mean_task(metric='pearson', num=400):
  """The label grows with the share of AAA units."""
  rng = np.random.default_rng(1)
  sequences, labels = [], []
  for _ in range(num):
    units = rng.integers(0, 4, (20, 3)).astype(np.uint8)
    share = rng.random()
    units[rng.random(20) < share] = 0
    sequences.append(units.ravel())
    labels.append(share)
  labels = np.array(labels)
  if metric != 'pearson':
    labels = (labels > 0.5).astype(np.int64)
  return Task('mean', sequences, labels, _splits(num), metric, 'mean')


CONFIG = probe.ProbeConfig(bases_per_batch=600)


def test_features_are_pooled_over_the_sequence_alone():
  task = _centre_task()
  features = probe.Features(encode, CONFIG)(knowing(), task)
  for sequence, vector in zip(task.sequences, features, strict=True):
    units = sequence.reshape(-1, 3) @ np.array([16, 4, 1])
    assert vector.argmax() == units[units.size // 2]
    assert vector.sum() == 1
  task = Task('mean', task.sequences, task.labels, task.split)
  features = probe.Features(encode, CONFIG)(knowing(), task)
  for sequence, vector in zip(task.sequences, features, strict=True):
    units = sequence.reshape(-1, 3) @ np.array([16, 4, 1])
    expected = np.bincount(units, minlength=CODONS) / units.size
    np.testing.assert_allclose(vector, expected, atol=1e-6)


def test_models_and_tasks_of_one_shape_share_a_compilation():
  traces = []

  def counting(model, batch):
    traces.append(batch['sequence'].shape)
    return encode(model, batch)

  features = probe.Features(counting, CONFIG)
  for task in (_mean_task(), _mean_task('mcc')):
    for model in (knowing(), FakeEncoder(jnp.zeros((CODONS, CODONS)))):
      features(model, task)
  assert traces == [(10, 60)]


def test_packed_rows():
  batch = probe.pack([np.array([0, 1, 2, 3], np.uint8)], (2, 9), 11)
  assert batch['sequence'][0].tolist() == [0, 1, 2, 3, 4, 4, 5, 5, 5]
  assert batch['segment_ids'][0].tolist() == [1] * 6 + [0] * 3
  assert batch['positions'][0].tolist() == [0, 1, 2, 3, 4, 5, 0, 0, 0]
  assert not batch['segment_ids'][1].any()
  assert (batch['sequence'][1] == records.PAD).all()
  assert (batch['genetic_code'] == 11).all()


def test_knowing_encoder_beats_ignorant_on_every_kind_of_task():
  tasks = [_centre_task(400), _mean_task('pearson'), _mean_task('accuracy')]
  rows = probe.run(tasks, encode, knowing(), ignorant(), 3, 'toys', CONFIG)
  assert len(rows) == 9
  for row in rows:
    assert row['low'] <= row['value'] <= row['high']
    assert (row['table'], row['split'], row['seed']) == ('toys', 'test', 3)
  for at in range(0, 9, 3):
    pretrained, random, kmers = rows[at : at + 3]
    assert pretrained['column'] == 'pretrained'
    assert pretrained['low'] > random['high']
    assert kmers['column'] == 'kmer'


def test_kmers_are_above_chance_where_kmers_decide():
  score, k = kmer.evaluate(
    _mean_task('mcc'), metrics.Bootstrap(), kmer.KmerConfig(ks=(3, 4))
  )
  assert score.low > 0.5
  assert k in (3, 4)


@pytest.mark.parametrize('num_buckets', [64, 16])
def test_kmer_counts_skip_ambiguous_bases(num_buckets):
  sequence = np.array([0, 1, 2, 4, 3, 3, 3, 3], np.uint8)
  task = Task('one', [sequence], np.zeros(1), np.array(['train']))
  counted = kmer.counts(task, 3, num_buckets).toarray()[0]
  assert counted.size == num_buckets
  assert sorted(counted[counted > 0]) == pytest.approx([1 / 3, 2 / 3])


def test_table_has_a_column_per_model():
  score = metrics.Score(0.5, 0.4, 0.6)
  rows = [
    table.row('t', 'promoter', 'mcc', column, score)
    for column in ('pretrained', 'kmer')
  ]
  rows.append(table.row('t', 'phase', 'mcc', 'kmer', score))
  lines = table.render(rows).splitlines()
  assert lines[1].split() == ['task', 'metric', 'split', 'pretrained', 'kmer']
  assert lines[3].count('0.500 [0.400, 0.600]') == 2
  assert '-' in lines[4].split()


def test_features_do_not_depend_on_the_batch_size():
  task = _mean_task()
  model = FakeEncoder(jax.random.normal(jax.random.key(0), (CODONS, 5)))
  small = probe.Features(encode, CONFIG)(model, task)
  large = probe.Features(encode, probe.ProbeConfig())(model, task)
  np.testing.assert_allclose(small, large, rtol=1e-5, atol=1e-6)
