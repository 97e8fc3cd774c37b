"""Fine-tuning on toys: what is learnt, by what, and chosen on what."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from backbone.downstream import finetune_table, heads, metrics, network
from backbone.downstream.batches import Batches, BatchShape
from backbone.downstream.finetune import evaluate, fit
from backbone.downstream.finetune_config import FineTuneConfig
from backbone.downstream.lora import LoRAConfig
from backbone.downstream.network import Network
from backbone.downstream.targets import make_targets
from backbone.train.state import TrainingError, split_model
from data_pipelines import records
from data_pipelines.errors import InputError
from data_pipelines.tasks import Task
from data_pipelines.tasks.task import NO_LABEL
from tests.backbone.downstream.tiny_encoder import encode, tiny
from tests.tolerance import assert_close

SHAPE = BatchShape(16, num_lengths=1)
# The number of epochs is part of what is compiled; patience is not.
CONFIG = FineTuneConfig(
  learning_rates=(0.01,),
  epochs=15,
  patience=15,
  lora=LoRAConfig(rank=4, alpha=8.0),
  batches=SHAPE,
)
LORA = dataclasses.replace(CONFIG, mode='lora', learning_rates=(0.03,))
FROZEN = dataclasses.replace(CONFIG, mode='frozen', learning_rates=(0.03,))


def _splits(num):
  names = np.array(['train', 'train', 'validation', 'test'])
  return names[np.arange(num) % 4]


def _sequences(num, seed=0):
  rng = np.random.default_rng(seed)
  return [
    rng.integers(0, 4, rng.integers(6, 9) * 3).astype(np.uint8)
    for _ in range(num)
  ]


def _unit_task(num=160):
  """Whether just one of the first two bases of a unit is G or T."""
  sequences = _sequences(num)
  rng = np.random.default_rng(1)
  labels = np.empty(num, object)
  for index, sequence in enumerate(sequences):
    is_late = sequence.reshape(-1, 3) > 1
    labels[index] = (is_late[:, 0] ^ is_late[:, 1]).astype(np.int64)
    labels[index][rng.random(labels[index].size) < 0.2] = NO_LABEL
  return Task('xor', sequences, labels, _splits(num), 'mcc', 'unit')


def _pair_task(num=160):
  """Whether the partner is the sequence itself, a few bases changed."""
  rng = np.random.default_rng(2)
  sequences, others = _sequences(num), _sequences(num, seed=3)
  labels = np.arange(num) // 4 % 2
  for index in np.flatnonzero(labels):
    others[index] = sequences[index].copy()
    others[index][rng.integers(0, others[index].size)] = 0
  return Task(
    'pairs',
    sequences,
    labels,
    _splits(num),
    'auroc',
    partners=others,
    kind=records.RNA,
    partner_kind=records.PROTEIN,
  )


def _share_task(num=160):
  """A number far from zero that grows with the share of A."""
  sequences = _sequences(num)
  labels = np.array([1_000 + 50 * np.mean(s == 0) for s in sequences])
  groups = np.arange(num) // 8
  return Task(
    'share', sequences, labels, _splits(num), 'pearson', groups=groups
  )


def _params():
  return split_model(tiny())[1]


def _assert_equal(one, other):
  jax.tree.map(np.testing.assert_array_equal, one, other)


def _predicted(task, tuned, split, shape=SHAPE):
  batches = Batches(task, make_targets(task).values, shape)
  return network.predict(
    tuned.network, tuned.trained, tuned.frozen, batches.of(split)
  )


@pytest.fixture(scope='module')
def unit_results():
  task = _unit_task()
  return task, {
    config.mode: evaluate(task, encode, tiny(), config)
    for config in (CONFIG, LORA, FROZEN)
  }


def num_leaves(tree):
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_full_and_lora_learn_what_a_head_alone_cannot(unit_results):
  scores = {mode: score for mode, (score, _) in unit_results[1].items()}
  assert scores['full'].low > 0.8
  assert scores['lora'].low > 0.5
  assert scores['frozen'].high < 0.4


def test_lora_trains_adapters_and_head_alone(unit_results):
  tuned = unit_results[1]['lora'][1]
  assert set(tuned.trained) == {'head', 'adapters'}
  _assert_equal(tuned.frozen, _params())
  # Inputs and outputs of heads_in, heads_out, up, gate and down.
  adapters = 4 * ((16 + 48) + (16 + 16) + 3 * (16 + 32))
  assert num_leaves(tuned.trained) == adapters + 16 * 2 + 2
  assert all(a['lora_b'].any() for a in tuned.trained['adapters'].values())


def test_full_trains_a_copy_of_every_parameter(unit_results):
  tuned = unit_results[1]['full'][1]
  assert not tuned.frozen
  before = _params()
  assert num_leaves(tuned.trained) == num_leaves(before) + 16 * 2 + 2
  for one, other in zip(
    *map(jax.tree.leaves, (before, tuned.trained['model'])), strict=True
  ):
    assert (np.asarray(one) != np.asarray(other)).any()
  # An encoder that is given stays usable.
  model = tiny()
  fit(unit_results[0], encode, model, dataclasses.replace(CONFIG, patience=1))
  _assert_equal(split_model(model)[1], before)


@pytest.mark.parametrize('mode', ['full', 'lora'])
def test_the_tuned_model_is_the_network_with_adapters_merged(
  unit_results, mode
):
  task, results = unit_results
  tuned = results[mode][1]
  outputs, _, _ = _predicted(task, tuned, 'test')
  merged = dataclasses.replace(
    tuned,
    trained={'head': tuned.trained['head']},
    frozen=split_model(tuned.model)[1],
  )
  again, _, _ = _predicted(task, merged, 'test')
  assert_close(again, outputs, dtype=jnp.float32, length=64)


def test_the_kept_epoch_is_the_best_on_validation(unit_results):
  task, results = unit_results
  for _, tuned in results.values():
    assert tuned.best.value == max(e.value for e in tuned.history)
    outputs, losses, example = _predicted(task, tuned, 'validation')
    truth = np.concatenate([task.labels[i] for i in np.unique(example)])
    value = metrics.score(
      'mcc', truth[truth != NO_LABEL], outputs.argmax(-1)
    ).value
    assert value == tuned.best.value
    assert losses.mean() == pytest.approx(tuned.best.loss, rel=1e-6)


def test_one_seed_gives_one_result_and_test_labels_none(unit_results):
  task, results = unit_results
  labels = task.labels.copy()
  for index in np.flatnonzero(task.split == 'test'):
    labels[index] = np.where(labels[index] == 0, 1, 0)
  other = dataclasses.replace(task, labels=labels)
  tuned = fit(other, encode, tiny(), LORA)
  assert tuned.history == results['lora'][1].history
  _assert_equal(tuned.trained, results['lora'][1].trained)
  seeded = dataclasses.replace(LORA, seed=1, patience=1)
  assert fit(task, encode, tiny(), seeded).history[0] != tuned.history[0]


def test_epoch_and_learning_rate_are_chosen_on_validation():
  """Where validation has labels turned round, learning more is worse."""
  task = _unit_task()
  labels = task.labels.copy()
  for index in np.flatnonzero(task.split == 'validation'):
    known = labels[index] != NO_LABEL
    labels[index] = np.where(known, 1 - labels[index], NO_LABEL)
  turned = dataclasses.replace(task, labels=labels)
  config = dataclasses.replace(CONFIG, learning_rates=(0.01, 1e-9), patience=4)
  tuned = fit(turned, encode, tiny(), config)
  first = [e for e in tuned.history if e.learning_rate == 0.01]
  best = max(first, key=lambda epoch: epoch.rank)
  assert best.epoch < 6
  assert len(first) == best.epoch + 4 < config.epochs
  assert {e.learning_rate for e in tuned.history} == {0.01, 1e-9}
  assert tuned.best == max(tuned.history, key=lambda epoch: epoch.rank)
  upright = fit(task, encode, tiny(), config)
  assert upright.best.learning_rate == 0.01
  assert upright.best.epoch > 6


def _head(width, num_outputs=2):
  kernel = np.random.default_rng(4).normal(size=(width, num_outputs))
  return {
    'kernel': jnp.asarray(kernel, jnp.float32),
    'bias': jnp.zeros(num_outputs),
  }


def _batches(task, **changes):
  shape = dataclasses.replace(SHAPE, **changes)
  return Batches(task, make_targets(task).values, shape)


@pytest.mark.parametrize('make_task', [_unit_task, _pair_task])
def test_a_batch_is_the_sum_of_its_examples(make_task):
  """Loss and gradient, in one call or several; no label has no weight."""
  task = make_task(20)
  is_pair = task.partners is not None
  graph, params = split_model(tiny())
  net = Network(encode, graph, LoRAConfig(), task.pooling, is_pair)
  trained = {'model': params, 'head': _head(16 * (4 if is_pair else 1))}
  run = jax.jit(
    lambda batch: network.loss_and_gradient(net, trained, {}, batch)
  )

  whole = run(next(_batches(task).of('train'))[1])
  indices, in_calls = next(_batches(task, bases_per_call=24 * 3).of('train'))
  assert indices.size == 10
  assert in_calls['weight'].shape[:2] == (16, 1) if is_pair else (6, 3)
  weights = [make_targets(task).truth[i].size for i in indices]
  alone = [run(batch) for _, batch in _batches(task, batch_size=1).of('train')]
  total = jax.tree.map(
    lambda *terms: (
      sum(weight * term for weight, term in zip(weights, terms, strict=True))
      / sum(weights)
    ),
    *alone,
  )
  nonsense = next(_batches(task).of('train'))[1]
  nonsense['target'] = np.where(nonsense['weight'] > 0, nonsense['target'], 1)
  for other in (run(in_calls), run(nonsense), total):
    for one, two in zip(*map(jax.tree.leaves, (whole, other)), strict=True):
      assert_close(two, one, dtype=jnp.float32, length=240, terms=1.0)


@pytest.mark.parametrize('split', records.SPLITS)
def test_every_example_is_in_one_batch_of_few_shapes(split):
  rng = np.random.default_rng(5)
  sequences = [np.zeros(n, np.uint8) for n in rng.integers(1, 400, 203)]
  task = Task('lengths', sequences, np.arange(203) % 2, _splits(203))
  batches = _batches(task, num_lengths=4, row_multiple=6)
  seen, shapes = [], set()
  for indices, batch in batches.of(split, np.random.default_rng(0)):
    seen += indices.tolist()
    shapes.add(batch['inputs']['sequence'].shape)
    weight = batch['weight'].reshape(-1)
    assert weight[: indices.size] == pytest.approx(1 / indices.size)
    assert not weight[indices.size :].any()
    rows = batch['inputs']['segment_ids'].reshape(weight.size, -1)
    bases = (rows > 0).sum(-1)
    assert (bases[: indices.size] >= [sequences[i].size for i in indices]).all()
    assert not bases[indices.size :].any()
  assert sorted(seen) == np.flatnonzero(task.split == split).tolist()
  assert seen != sorted(seen)
  assert len(shapes) <= 4
  assert len(list(batches.of(split))) == batches.num(split)


@pytest.mark.parametrize('pooling', ['mean', 'centre'])
def test_vectors_are_pooled_over_the_sequence_alone(pooling):
  """With one-hot positions for vectors, the pooled one is the weights."""
  task = dataclasses.replace(_share_task(8), pooling=pooling)

  def positions(model, batch):
    rows, length = batch['sequence'].shape
    return jnp.tile(jnp.eye(length // 3), (rows, 1, 1))

  graph, params = split_model(tiny())
  net = Network(positions, graph, LoRAConfig(), pooling, is_pair=False)
  indices, batch = next(_batches(task, row_multiple=30).of('train'))
  call = jax.tree.map(lambda x: jnp.asarray(x[0]), batch)
  features = np.asarray(net.features(params, call))
  for index, weights in zip(indices, features[:, 0], strict=False):
    num_units = task.sequences[index].size // 3
    expected = np.zeros(10)
    if pooling == 'mean':
      expected[:num_units] = 1 / num_units
    else:
      expected[num_units // 2] = 1
    assert weights == pytest.approx(expected)


def test_predictions_do_not_depend_on_the_batches(unit_results):
  task, results = unit_results
  tuned = results['lora'][1]
  expected = _predicted(task, tuned, 'test')
  alone = _predicted(task, tuned, 'test', BatchShape(1, num_lengths=3))
  for one, other in zip(expected, alone, strict=True):
    assert_close(other, one, dtype=jnp.float32, length=64, terms=1.0)


def test_a_head_of_pairs_compares_them():
  task = _pair_task()
  score, _ = evaluate(task, encode, tiny(), FROZEN)
  assert score.low > 0.8
  kind = next(_batches(task).of('test'))[1]['inputs']['kind'][0]
  assert (kind[:16] == records.RNA).all()
  assert (kind[16:] == records.PROTEIN).all()


def test_numbers_are_learnt_on_their_scale_and_resampled_in_groups():
  task = _share_task()
  score, tuned = evaluate(task, encode, tiny(), FROZEN)
  assert score.low > 0.3
  outputs, _, example = _predicted(task, tuned, 'test')
  predicted = make_targets(task).predicted(outputs)
  test = task.split == 'test'
  assert abs(predicted.mean() - task.labels[test].mean()) < 5
  assert score == metrics.score(
    'pearson', task.labels[test], predicted, groups=task.groups[example]
  )


def test_losses():
  outputs = jnp.array([[[2.0, 0.0]], [[0.0, 1.0]]])
  found = heads.losses(outputs, jnp.array([[0], [-1]]))
  assert float(found[0, 0]) == pytest.approx(np.log1p(np.exp(-2)))
  assert np.isfinite(found).all()
  found = heads.losses(outputs, jnp.array([[0.5], [-1.0]]))
  assert np.asarray(found).tolist() == [[2.25], [1.0]]


def _tracks(num):
  """A label for each of two units."""
  tracks = np.empty(num, object)
  tracks[:] = [np.arange(2) for _ in range(num)]
  return tracks


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    (
      {'labels': np.r_[np.arange(14) % 2, 7, 1]},
      'validation has the class 7, of which train has no example',
    ),
    (
      {'labels': np.r_[np.arange(15) % 2, 8]},
      'test has the class 8, of which train has no example',
    ),
    ({'labels': np.ones(16, np.int64)}, r'classes \[1\]; mcc needs at'),
    ({'labels': np.arange(16) // 4, 'metric': 'auroc'}, 'exactly two'),
    ({'split': np.full(16, 'train')}, 'validation has no example'),
    ({'split': np.full(16, 'dev')}, "split 'dev' is none of"),
    ({'metric': 'pearson', 'labels': np.ones(16)}, 'all labels of train'),
    (
      {'metric': 'pearson', 'labels': np.r_[np.arange(15), np.nan]},
      'example 15 is nan',
    ),
    (
      {'sequences': [*_sequences(15), np.zeros(0, np.uint8)]},
      'sequence of example 15 is empty',
    ),
    (
      {'pooling': 'unit', 'labels': _tracks(16)},
      'example 0 has 2 labels for',
    ),
    ({'partners': _sequences(16), 'pooling': 'unit'}, 'pairs have mean'),
  ],
)
def test_tasks_that_cannot_be_fitted_are_refused(changes, message):
  task = Task('toy', _sequences(16), np.arange(16) // 4 % 2, _splits(16))
  task = dataclasses.replace(task, **changes)
  with pytest.raises(InputError, match=message) as caught:
    fit(task, encode, tiny(), CONFIG)
  assert '\n' not in str(caught.value)


def test_a_loss_that_is_not_finite_ends_the_run():
  config = dataclasses.replace(FROZEN, learning_rates=(1e38,))
  with pytest.raises(TrainingError, match='take a lower one'):
    fit(_share_task(), encode, tiny(), config)


def test_misspelt_settings_are_refused():
  for changes in (
    {'mode': 'half'},
    {'learning_rates': ()},
    {'learning_rates': (-1.0,)},
    {'epochs': 0},
    {'warmup': 1.0},
  ):
    # A mode is refused by its type already where types are checked.
    with pytest.raises((ValueError, TypeError), match=next(iter(changes))):
      FineTuneConfig(**changes)
  with pytest.raises(ValueError, match='row_multiple'):
    BatchShape(row_multiple=4)


def test_table_has_a_row_per_mode_model_and_seed():
  configs = [dataclasses.replace(c, patience=1) for c in (CONFIG, LORA)]
  rows = finetune_table.run(
    [_unit_task()], encode, tiny(), tiny(1), (0, 1), 'tuned', tuple(configs)
  )
  assert {(row['column'], row['seed']) for row in rows} == {
    (column + suffix, seed)
    for column in ('fine_tuned', 'lora')
    for suffix in ('', '_random_weights')
    for seed in (0, 1)
  }
  assert len(rows) == 8
  for row in rows:
    assert row['low'] <= row['value'] <= row['high']
    assert (row['table'], row['task'], row['split']) == ('tuned', 'xor', 'test')
