"""Both strands, tokens made beforehand, averages and maxima."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from backbone.downstream import finetune, heads, metrics, network
from backbone.downstream.batches import Batches, BatchShape
from backbone.downstream.finetune import evaluate, fit
from backbone.downstream.finetune_config import FineTuneConfig
from backbone.downstream.lora import LoRAConfig
from backbone.downstream.network import Network
from backbone.downstream.targets import make_targets
from backbone.train.state import split_model
from data_pipelines import central_dogma, records
from data_pipelines.errors import InputError
from data_pipelines.tasks import Task
from tests.backbone.downstream.tiny_encoder import encode, tiny

CONFIG = FineTuneConfig(
  mode='frozen',
  learning_rates=(0.03,),
  epochs=20,
  patience=20,
  batches=BatchShape(16, num_lengths=1),
)
BOTH = dataclasses.replace(CONFIG, both_strands=True)


def _task(num=96, **changes):
  """Units AAA or CCC in train and validation; in test TTT or GGG."""
  rng = np.random.default_rng(0)
  split = np.array(['train', 'train', 'validation', 'test'])[np.arange(num) % 4]
  labels = np.arange(num) // 4 % 2
  sequences = []
  for label, name in zip(labels, split, strict=True):
    sequence = rng.integers(0, 4, 24).astype(np.uint8)
    sequence[3 * rng.integers(8, size=4)[:, None] + np.arange(3)] = label
    if name == 'test':
      sequence = central_dogma.reverse_complement(sequence)
    sequences.append(sequence)
  return Task('strands', sequences, labels, split, **changes)


def test_what_is_learnt_on_both_strands_is_found_on_the_other():
  given, _ = evaluate(_task(), encode, tiny(), CONFIG)
  both, _ = evaluate(_task(), encode, tiny(), BOTH)
  assert both.value > 0.7
  assert given.value < both.value - 0.3


def test_scores_are_of_the_mean_of_both_strands():
  """Turned around, a task scores the same."""
  task = _task()
  turned = dataclasses.replace(
    task,
    sequences=[central_dogma.reverse_complement(x) for x in task.sequences],
  )
  tuned = fit(task, encode, tiny(), dataclasses.replace(BOTH, epochs=2))
  one, other = (
    finetune._Fit(given, encode, tiny(), BOTH).score(
      tuned.trained, 'test', metrics.Bootstrap(num_resamples=1)
    )
    for given in (task, turned)
  )
  assert one[1] == pytest.approx(other[1], rel=1e-5)
  assert one[0].value == other[0].value


def test_a_strand_is_drawn_for_each_example_and_pass():
  task = _task()
  values = make_targets(task).values
  batches = Batches(task, values, CONFIG.batches, both_strands=True)
  first, second = (_drawn(task, batches, seed) for seed in (0, 1))
  assert 0.2 < first.mean() < 0.8
  assert (first != second).any()
  for index, batch in batches.of('test', strand=1):
    rows = batch['inputs']['sequence'].reshape(-1, 24)
    for row, i in enumerate(index):
      other = central_dogma.reverse_complement(task.sequences[i])
      np.testing.assert_array_equal(rows[row], other)


def _drawn(task, batches, seed):
  """Whether each example of train is on its other strand."""
  is_other = {}
  for index, batch in batches.of('train', np.random.default_rng(seed)):
    rows = batch['inputs']['sequence'].reshape(-1, 24)
    for row, i in enumerate(index):
      is_other[i] = not np.array_equal(rows[row], task.sequences[i])
      if is_other[i]:
        other = central_dogma.reverse_complement(task.sequences[i])
        np.testing.assert_array_equal(rows[row], other)
  return np.array([is_other[i] for i in sorted(is_other)])


def test_tokens_made_beforehand_go_with_their_strand():
  rng = np.random.default_rng(0)
  sequences = [
    rng.integers(0, 4, size).astype(np.uint8) for size in (6, 7, 9, 8)
  ]
  split = np.array(['train', 'train', 'validation', 'test'])
  task = Task('tokens', sequences, np.array([0, 1, 0, 1]), split)
  calls = []

  def read(given):
    calls.append(len(given))
    return [np.repeat([[s[0], s[-1]]], -(-s.size // 3), 0) for s in given]

  batches = Batches(
    task,
    make_targets(task).values,
    BatchShape(4, num_lengths=1),
    both_strands=True,
    read=read,
  )
  for strand in (0, 1):
    ((index, batch),) = batches.of('train', strand=strand)
    tokens = batch['inputs']['tokens'][0]
    assert tokens.shape == (4, 3, 2)
    for row, i in enumerate(index):
      ends = np.array([task.sequences[i][0], task.sequences[i][-1]])
      wanted = 3 - ends[::-1] if strand else ends
      num = -(-task.sequences[i].size // 3)
      assert (tokens[row, :num] == wanted).all()
      assert not tokens[row, num:].any()
    assert not tokens[len(index) :].any()
  assert calls == [8]


def test_strands_are_of_whole_genomic_sequences():
  for task in (
    _task(kind=records.RNA),
    dataclasses.replace(_task(), pooling='unit'),
    dataclasses.replace(
      _task(), partners=_task().sequences, partner_kind=records.CDS
    ),
  ):
    with pytest.raises(InputError, match='both_strands is of whole sequences'):
      fit(task, encode, tiny(), BOTH)


def test_an_average_of_the_weights_is_scored():
  """One update: a tenth of the start is left."""
  task = _task(16)
  once = dataclasses.replace(CONFIG, epochs=1)
  averaged = dataclasses.replace(once, average=0.9)
  width = 16
  start = heads.init(width, 2, jax.random.split(jax.random.key(0))[0])
  last, mean = (
    fit(task, encode, tiny(), config).trained['head']
    for config in (once, averaged)
  )
  for name in start:
    wanted = 0.1 * start[name] + 0.9 * last[name]
    np.testing.assert_allclose(mean[name], wanted, rtol=1e-5, atol=1e-7)


def test_small_sets_are_passed_over_more_often():
  # 48 examples of train are three batches.
  config = dataclasses.replace(CONFIG, epochs=2, min_updates=10)
  history = fit(_task(), encode, tiny(), config).history
  assert [epoch.epoch for epoch in history] == [1, 2, 3, 4]
  # Patience ends no run before, and the run after.
  hopeless = dataclasses.replace(
    config, epochs=9, patience=1, learning_rates=(1e-9,)
  )
  history = fit(_task(), encode, tiny(), hopeless).history
  assert [epoch.epoch for epoch in history] == [1, 2, 3, 4]


def test_the_maximum_stands_beside_the_mean():
  rng = np.random.default_rng(0)
  hidden = rng.normal(size=(3, 4, 5)).astype(np.float32) - 5
  segment_ids = np.repeat([[1, 1, 1, 0], [1, 0, 0, 0], [0] * 4], 3, axis=1)
  graph, params = split_model(tiny())
  made = Network(
    encode=lambda model, batch: jnp.asarray(hidden),
    graph=graph,
    lora=LoRAConfig(),
    pooling='mean',
    is_pair=False,
    has_maximum=True,
  )
  call = {'inputs': {'segment_ids': jnp.asarray(segment_ids)}}
  features = np.asarray(made.features(params, call))[:, 0]
  np.testing.assert_allclose(features[0, :5], hidden[0, :3].mean(0), rtol=1e-5)
  np.testing.assert_array_equal(features[0, 5:], hidden[0, :3].max(0))
  np.testing.assert_array_equal(features[1, 5:], hidden[1, 0])
  assert not features[2].any()


def test_a_moving_average_follows():
  average = network.follow(
    {'a': jnp.zeros(2)}, {'a': jnp.array([1.0, 2.0])}, 0.75
  )
  np.testing.assert_allclose(average['a'], [0.25, 0.5])
