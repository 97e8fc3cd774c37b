"""The encoder of words, its units, and its use downstream."""

import functools
import pathlib
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from backbone.downstream import probe
from backbone.model import BackboneConfig
from backbone.train.state import split_model
from data_pipelines import central_dogma
from tests.tolerance import assert_close
from tests.vqdna.batches import make_batch
from tests.vqdna.vocabulary_test import LEARNINGS, write
from vqdna import encode as encode_module
from vqdna.code_model import CodeModel, ReaderConfig
from vqdna.encode import Encode
from vqdna.vocabulary import Frozen
from vqdna.words import KMers

BACKBONE = BackboneConfig(
  pattern=('attention',), width=16, hidden=32, num_heads=2
)
READER = ReaderConfig(width=8, size=5, filters=16, pool=3)


@functools.cache
def frozen(name):
  folder = tempfile.mkdtemp(prefix='vocabulary-')
  return Frozen(str(write(LEARNINGS[name], pathlib.Path(folder))[0]))


# By name: one base a token or three, with a reader or without.
MODELS = {
  'characters': (lambda: KMers(1), READER),
  'words of four': (lambda: KMers(4), READER),
  'two levels': (lambda: frozen('two levels'), READER),
  'as published': (lambda: frozen('two levels'), None),
  'three bases a token': (lambda: frozen('finite scalar'), None),
}
EVERY = pytest.mark.parametrize('name', MODELS)


@functools.cache
def model(name):
  make, reader = MODELS[name]
  return CodeModel(make(), BACKBONE, reader, key=jax.random.key(0))


def _batch(**changes):
  return jax.tree.map(jnp.asarray, make_batch(**changes))


@functools.cache
def _compiled(name):
  made = model(name)
  state = made.words.init()

  @jax.jit
  def run(batch):
    return made.encode(made.words(state, batch), None, batch)

  return run


@EVERY
def test_units_and_scores_have_their_shapes(name):
  made, batch = model(name), _batch(rows=2)
  encoded = _compiled(name)(batch)
  length = batch['sequence'].shape[1]
  assert encoded.shape == (2, length // (made.stride * made.pool), 16)
  for level, size in enumerate(made.words.sizes):
    scores = made.scores(encoded, level)
    assert scores.shape == (2, length // made.stride, size)
  scores = made.base_scores(encoded)
  assert scores.shape == (2, length // made.stride, made.stride, 4)


@EVERY
def test_one_segment_tells_nothing_of_another(name):
  made, batch = model(name), _batch(rows=2)
  changed = batch['sequence'].at[0, 20:30].set(1)
  step = made.stride * made.pool
  before, after = (
    np.asarray(_compiled(name)({**batch, 'sequence': sequence}))
    for sequence in (batch['sequence'], changed)
  )
  is_first = np.asarray(batch['segment_ids'])[0, ::step] == 1
  np.testing.assert_array_equal(before[0, is_first], after[0, is_first])
  assert (before[0, ~is_first] != after[0, ~is_first]).any()


@EVERY
def test_a_hidden_token_tells_only_that_it_is_hidden(name):
  made, batch = model(name), _batch(rows=2)
  tokens = made.words(made.words.init(), batch)
  is_hidden = jnp.zeros(tokens.is_real.shape, bool).at[0, 2].set(True)

  moved = jax.tree.map(lambda x: x.at[0, 2].set(x[0, 5]), tokens)

  @jax.jit
  def encoded(tokens, is_hidden):
    return made.encode(tokens, is_hidden, batch)

  hidden = encoded(tokens, is_hidden)
  np.testing.assert_array_equal(encoded(moved, is_hidden), hidden)
  shown = jnp.zeros_like(is_hidden)
  assert (encoded(tokens, shown) != hidden).any()


@EVERY
def test_every_parameter_has_a_gradient(name):
  """Of the encoder; heads and the mask are of pretraining."""
  made, batch = model(name), _batch(rows=2)
  graph, params = split_model(made)
  state = made.words.init()

  def loss(params):
    net = nnx.merge(graph, params)
    encoded = net.encode(net.words(state, batch), None, batch)
    return jnp.square(encoded).sum() + jnp.sin(encoded).sum()

  gradient = jax.jit(jax.grad(loss))(params)
  for part, leaves in gradient.items():
    if part not in ('heads', 'bases', 'mask'):
      assert all(leaf.any() for leaf in jax.tree.leaves(leaves)), part


def test_a_unit_has_one_base_or_three():
  with pytest.raises(ValueError, match='one base or three'):
    CodeModel(frozen('finite scalar'), BACKBONE, READER, key=jax.random.key(0))
  for changes in ({'pool': 2}, {'size': 4}, {'filters': 0}):
    with pytest.raises(ValueError):
      ReaderConfig(**changes)


@EVERY
def test_tokens_made_beforehand_are_those_made_on_the_way(name):
  made = model(name)
  encode = Encode()
  rng = np.random.default_rng(0)
  sequences = [
    rng.integers(0, 5, size).astype(np.uint8) for size in (30, 29, 12, 30)
  ]
  tokens = encode.read(made, sequences)
  packed = probe.pack(sequences, (4, 30), genetic_code=1)
  inputs = jax.tree.map(jnp.asarray, packed)
  rows = np.zeros((4, 30 // made.stride, tokens[0].shape[1]), np.int32)
  for row, found in enumerate(tokens):
    rows[row, : len(found)] = found
  run = jax.jit(lambda batch: encode(made, batch))
  inline = np.asarray(run(inputs))
  ahead = np.asarray(run({**inputs, 'tokens': jnp.asarray(rows)}))
  assert inline.shape == (4, 10, 16)
  is_unit = packed['segment_ids'][:, ::3] > 0
  assert_close(ahead[is_unit], inline[is_unit], dtype=jnp.float32, length=30)


def test_tokens_are_made_once_for_a_vocabulary_and_its_sequences(monkeypatch):
  calls = []
  original = encode_module._read
  monkeypatch.setattr(
    encode_module, '_read', lambda *given: calls.append(1) or original(*given)
  )
  encode = Encode()
  one = [np.zeros(9, np.uint8), np.ones(6, np.uint8)]
  other = [central_dogma.reverse_complement(x) for x in one]
  first = encode.read(model('characters'), one)
  assert encode.read(model('characters'), [x.copy() for x in one]) is first
  assert len(calls) == 1
  encode.read(model('characters'), other)
  encode.read(model('words of four'), one)
  assert len(calls) == 3
