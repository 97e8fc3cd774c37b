"""GTA as an objective: what is trained, what is frozen, what is read."""

import dataclasses
import functools
import pathlib
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from backbone import sharding
from backbone.model import BackboneConfig
from backbone.train.optim import AdamW
from backbone.train.state import (
  abstract_state,
  make_create,
  make_step,
  run_keys,
  to_device,
)
from data_pipelines.errors import InputError
from data_pipelines.genes.dataset import GeneWindows
from data_pipelines.genes.folds import ChromosomeFold
from gta.alignment import AlignmentConfig
from gta.language.frozen import Frozen
from gta.language.prompts import PromptCache
from gta.model import GTAConfig
from gta.objective import Expression
from gta.trunk import CachedConfig, TrunkConfig
from tests.gta import tiny
from tests.objective_conformance import Conformance

WINDOW, BEFORE, SECTION = 192, 48, 48
BACKBONE = BackboneConfig(
  pattern=('delta', 'attention'),
  width=12,
  hidden=24,
  num_heads=2,
  delta_heads=4,
  delta_key_width=4,
  delta_value_width=4,
)
TRUNK = TrunkConfig(filters=12, size=5, bin_size=12, width=12)
ARMS = {
  'whole': {},
  'hybrid trunk': {'trunk': dataclasses.replace(TRUNK, backbone=BACKBONE)},
  'no language': {'between': 'nothing'},
  'one layer': {'between': 'attention'},
  'text alone': {'has_sections': False},
  'flat': {'pooling': 'flatten'},
  'prompt states': {'reads_prompt': True},
}


@functools.cache
def language(**changes):
  folder = pathlib.Path(tempfile.mkdtemp(prefix='language-'))
  return Frozen(tiny.write_language(folder / 'tiny.bin'), **changes)


def objective(**changes):
  model = GTAConfig(
    trunk=TRUNK,
    alignment=AlignmentConfig(
      feature_width=12, width=16, num_prototypes=8, num_heads=2, key_width=4
    ),
    section_bins=4,
    section_bases=SECTION,
    before=BEFORE,
    num_readouts=2,
    head_width=8,
  )
  model = dataclasses.replace(model, **changes)
  return Expression(model, language(), WINDOW)


def windows(**changes):
  settings = {
    'genes': tiny.genes,
    'split': ChromosomeFold(num_folds=3),
    'tokenizer': tiny.Letters(),
    'before': BEFORE,
    'after': WINDOW - BEFORE,
    'batch_size': 8,
    'max_prompt': 20,
  }
  return GeneWindows(**{**settings, **changes})


class TestExpression(Conformance):
  relative_tolerance = 1e-4

  def objective(self):
    return objective()

  def batch(self):
    data = windows()
    edge = [g.anchor < BEFORE or g.anchor > 5_900 for g in data.found.genes]
    return data.batch(np.argsort(np.logical_not(edge), kind='stable')[:8])


def _made(given):
  model, aux = given.init(jax.random.key(0))
  return model, jax.tree.map(jnp.asarray, aux)


def _values(given, batch, *, made=None):
  model, aux = made or _made(given)
  return given.predict(model, aux, jax.tree.map(jnp.asarray, batch))


@pytest.mark.parametrize('arm', ARMS)
def test_what_each_arm_reads(arm):
  given = objective(**ARMS[arm])
  made = _made(given)
  batch = windows().batch(np.arange(8))
  before = _values(given, batch, made=made)
  other_text = {**batch, 'prompt': np.roll(batch['prompt'], 1, axis=0)}
  other_text['is_prompt'] = np.roll(batch['is_prompt'], 1, axis=0)
  mirrored = {**batch, 'sequence': 3 - np.minimum(batch['sequence'], 3)}
  reads_text = arm != 'no language'
  reads_bases = arm != 'text alone'
  for changed, is_read in ((other_text, reads_text), (mirrored, reads_bases)):
    after = _values(given, changed, made=made)
    is_equal = np.array_equal(before.value, after.value)
    assert is_equal != is_read


def test_weights_of_sections_leave_out_what_is_no_contig():
  data = windows(before=480, after=96)
  given = dataclasses.replace(objective(before=480, num_readouts=0), window=576)
  batch = data.batch(np.arange(60))
  predicted = _values(given, batch)
  inside = batch['segment_ids'].reshape(60, 12, 48).any(-1)
  assert not inside.all()
  weights = np.asarray(predicted.section_weights)
  np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
  assert not weights[~inside].any()


def test_training_leaves_the_language_model_bit_for_bit():
  given, data = objective(), windows()
  mesh = sharding.make_mesh(devices=jax.devices()[:1])
  transform = AdamW(learning_rate=0.01, warmup_steps=1).transform(5)
  keys = run_keys(0)
  with jax.set_mesh(mesh):
    graph, abstract = abstract_state(given, transform, mesh=mesh)
    step = make_step(given, transform, graph, abstract, keys[1], mesh=mesh)
    state = make_create(given, transform, abstract)(keys[0])
    frozen = jax.tree.map(np.asarray, state.aux['frozen'])
    moments = sum(x.size for x in jax.tree.leaves(state.opt_state))
    trained = sum(x.size for x in jax.tree.leaves(state.params))
    batches = data.train()
    for _ in range(5):
      state, _ = step(state, to_device(next(batches), mesh))
  jax.tree.map(np.testing.assert_array_equal, frozen, state.aux['frozen'])
  # Two moments of what is trained, and no more.
  assert moments < 2 * trained + 10


def test_prompts_read_once_are_those_read_now(tmp_path):
  given = objective(reads_prompt=True)
  made = _made(given)
  now = windows().batch(np.arange(8))
  for folder in ('', str(tmp_path)):
    cached = windows(prompt_reader=PromptCache(language(), folder))
    batch = cached.batch(np.arange(8))
    assert batch['prompt_past'].shape[1:3] == (2, tiny.LAYERS)
    np.testing.assert_allclose(
      _values(given, batch, made=made).value,
      _values(given, now, made=made).value,
      rtol=1e-4,
      atol=1e-5,
    )
  assert {path.suffix for path in tmp_path.iterdir()} == {'.npy'}
  kept = _values(given, batch, made=made).value
  other = {**batch, 'prompt_states': -batch['prompt_states']}
  assert not np.allclose(kept, _values(given, other, made=made).value)


def test_prompts_are_kept_by_the_weights_that_read_them(tmp_path):
  path = tmp_path / 'tiny.bin'
  tokens, is_token = np.full((2, 5), 7, np.int32), np.ones((2, 5), bool)
  found = []
  for seed in (0, 1):
    frozen = Frozen(tiny.write_language(path, seed))
    cache = PromptCache(frozen, str(tmp_path / 'kept'))
    found.append(cache(tokens, is_token)['prompt_past'])
  assert np.abs(found[0] - found[1]).max() > 0.1


def test_what_is_bound_is_learnt_where_it_is_known():
  model = dataclasses.replace(objective().model, predicts_bound=True)
  given = Expression(model, language(), WINDOW, bound_weight=1)
  trained, aux = _made(given)
  batch = jax.tree.map(jnp.asarray, windows().batch(np.arange(8)))
  key = jax.random.key(0)
  with pytest.raises(InputError, match='nobody has looked'):
    given.loss(trained, aux, batch, key, train=False)
  found = np.asarray(given.predict(trained, aux, batch).bound)
  assert found.shape == (8, WINDOW // TRUNK.bin_size)
  bound = np.zeros((8, WINDOW), np.uint8)
  bound[:, 7] = bound[:, 15] = 1
  batch['bound'] = jnp.asarray(bound)
  _, (_, metrics) = given.loss(trained, aux, batch, key, train=False)
  counts = bound.reshape(*found.shape, -1).sum(-1)
  # Of Poisson: the log likelihood of itself less that of what is predicted.
  least = counts - np.where(counts, counts * np.log(np.maximum(counts, 1)), 0)
  wanted = (found - counts * np.log(found) - least).mean()
  total = metrics['bound_deviance'].total / 8
  np.testing.assert_allclose(total, wanted, rtol=1e-4)
  with pytest.raises(ValueError, match='bound_weight needs'):
    Expression(objective().model, language(), WINDOW, bound_weight=1)


def test_a_tokenizer_of_another_model_is_refused():
  tokens = np.full((1, 3), tiny.TOKENS, np.int32)
  with pytest.raises(InputError, match='has 64 words, the tokenizer of'):
    PromptCache(language())(tokens, tokens > 0)


def test_the_first_layers_alone_can_be_read():
  whole, first = language().init(), language(num_layers=1).init()
  layers = (
    params['stack']['layers']['mlp']['up']['kernel']
    for params in (whole, first)
  )
  one, other = layers
  assert len(one) == tiny.LAYERS and len(other) == 1
  np.testing.assert_array_equal(one[:1], other)


def test_features_that_were_computed_before_are_read_as_they_are():
  cached = objective(
    trunk=CachedConfig(width=12), section_bins=1, section_bases=32, before=96
  )
  rng = np.random.default_rng(0)
  batch = {
    'features': rng.normal(size=(4, 6, 12)).astype(np.float16),
    'segment_ids': np.array([[1] * 6, [1] * 6, [0] + [1] * 5, [1] * 6]),
    'value': np.zeros((4, 1), np.float32),
    'weight': np.ones((4, 1), np.float32),
  }
  found = _values(cached, batch)
  assert found.section_weights.shape == (4, 6)
  assert found.section_weights[2, 0] == 0


def test_random_weights_keep_the_words():
  trained, drawn = language().init(), language(is_random=True).init()
  np.testing.assert_array_equal(trained['table'], drawn['table'])
  same = jax.tree.map(np.array_equal, trained['stack'], drawn['stack'])
  kernels = [
    is_same
    for path, is_same in jax.tree.leaves_with_path(same)
    if 'kernel' in jax.tree_util.keystr(path)
  ]
  assert not any(kernels)


def test_refuses_a_language_model_that_is_not_there():
  with pytest.raises(InputError, match="'': no folder of weights"):
    Frozen('')
