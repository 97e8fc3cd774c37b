"""Probe, k-mer baseline and table on toys whose answer is known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from backbone.downstream import examples as examples_lib
from backbone.downstream import kmer, metrics, probe, table
from data_pipelines import records
from data_pipelines.tasks import Task
from tests.backbone.downstream.examples_test import unit_task

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


@pytest.mark.parametrize('kind', [records.CDS, records.PROTEIN])
def test_packed_codons_have_a_phase(kind):
  batch = probe.pack([np.zeros(4, np.uint8)], (2, 9), 1, kind)
  none = records.PHASE_NONE
  assert batch['codon_phase'][0].tolist() == [0, 1, 2] * 2 + [none] * 3
  assert (batch['codon_phase'][1] == none).all()
  assert (batch['kind'] == kind).all()
  assert (batch['amino_acid'] == records.NO_RESIDUE).all()
  genome = probe.pack([np.zeros(4, np.uint8)], (1, 9), 1)
  assert (genome['codon_phase'] == none).all()


def test_encoder_is_told_kind_and_genetic_code():
  seen = []

  def looking(model, batch):
    jax.debug.callback(
      lambda kind, code: seen.append((int(kind), int(code))),
      batch['kind'][0, 0],
      batch['genetic_code'][0, 0],
    )
    return encode(model, batch)

  task = _mean_task(num=8)
  task = dataclasses.replace(
    task,
    partners=task.sequences,
    kind=records.RNA,
    partner_kind=records.PROTEIN,
    genetic_code=11,
  )
  probe.Features(looking, CONFIG)(knowing(), task)
  jax.effects_barrier()
  assert seen == [(records.RNA, 11), (records.PROTEIN, 11)]


def test_pairs_hold_both_vectors_and_how_they_compare():
  task = _mean_task(num=8)
  partners = task.sequences[::-1]
  features = probe.Features(encode, CONFIG)
  first = features(knowing(), task)
  second = features(knowing(), dataclasses.replace(task, sequences=partners))
  pairs = features(knowing(), dataclasses.replace(task, partners=partners))
  expected = [first, second, first * second, abs(first - second)]
  np.testing.assert_allclose(pairs, np.concatenate(expected, -1), atol=1e-6)


def test_units_are_scored_over_sequences():
  task = unit_task(80)
  sample = examples_lib.UnitSample(train=150, validation=100)
  config = dataclasses.replace(
    CONFIG, units=sample, baseline=kmer.KmerConfig(unit_window=0)
  )
  features = probe.Features(encode, config)(knowing(), task)
  examples = examples_lib.of_task(task, sample)
  for row, sequence, unit in zip(
    features, examples.sequence, examples.unit, strict=True
  ):
    codon = task.sequences[sequence][3 * unit : 3 * unit + 3]
    assert row.argmax() == codon @ np.array([16, 4, 1])
  rows = probe.run([task], encode, knowing(), ignorant(), 0, 'units', config)
  pretrained, random, kmers = rows
  assert pretrained['value'] > 0.95 > random['high']
  assert kmers['low'] > random['high']
  assert kmers['features'] == 'codons within 0'


@pytest.mark.parametrize('longest', [60, 300])
def test_rows_are_about_as_long_as_their_sequences(longest):
  rng = np.random.default_rng(6)
  sizes = [longest, *rng.integers(1, longest, 50)]
  sequences = [np.zeros(size, np.uint8) for size in sizes]
  task = Task('any', sequences, np.zeros(51), np.full(51, 'train'))
  shapes = set()

  def counting(model, batch):
    shapes.add(batch['sequence'].shape)
    return encode(model, batch)

  features = probe.Features(counting, CONFIG)(knowing(), task)
  assert len(shapes) == 4
  assert all(rows * bases <= 600 for rows, bases in shapes)
  ends_within = np.array([size % 3 > 0 for size in sizes])
  units = -(-np.array(sizes) // 3)
  np.testing.assert_allclose(
    features[:, 0], 1 - ends_within * (features[:, 0] < 1) / units, atol=1e-5
  )


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
  score, chosen = kmer.evaluate(
    _mean_task('mcc'), metrics.Bootstrap(), kmer.KmerConfig(ks=(3, 4))
  )
  assert score.low > 0.5
  assert chosen.startswith(('3-mers', '4-mers'))


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


def test_a_sequence_that_stands_twice_is_encoded_once(monkeypatch):
  task = _mean_task(num=40)
  order = np.random.default_rng(0).integers(0, 40, 100)
  repeated = dataclasses.replace(
    task,
    sequences=[task.sequences[i] for i in order],
    labels=task.labels[order],
    split=task.split[order],
  )
  packed = []
  pack = probe.pack

  def counting(sequences, *arguments):
    packed.extend(sequences)
    return pack(sequences, *arguments)

  monkeypatch.setattr(probe, 'pack', counting)
  model = FakeEncoder(jax.random.normal(jax.random.key(0), (CODONS, 5)))
  features = probe.Features(encode, CONFIG)
  np.testing.assert_allclose(
    features(model, repeated), features(model, task)[order], rtol=1e-5
  )
  distinct = [{s.tobytes() for s in t.sequences} for t in (repeated, task)]
  assert len(packed) == sum(map(len, distinct)) < 140
