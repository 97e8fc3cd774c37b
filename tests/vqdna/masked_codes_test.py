"""Stage 2: what is hidden, from whom, and what is asked for."""

import dataclasses
import functools
import pathlib
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from backbone.model import BackboneConfig
from tests.objective_conformance import Conformance
from tests.vqdna.batches import make_batch
from tests.vqdna.vocabulary_test import LEARNINGS, write
from vqdna.code_model import ReaderConfig
from vqdna.masked_codes import MaskedCodes
from vqdna.masking import SpanMasking
from vqdna.vocabulary import Frozen
from vqdna.words import KMers

BACKBONE = BackboneConfig(
  pattern=('attention',),
  width=16,
  hidden=32,
  num_heads=2,
)


@functools.cache
def frozen(name='two levels'):
  folder = tempfile.mkdtemp(prefix='vocabulary-')
  return Frozen(str(write(LEARNINGS[name], pathlib.Path(folder))[0]))


def objective(**changes):
  settings = {
    'tokens': frozen(),
    'backbone': BACKBONE,
    'masking': SpanMasking(0.3),
    'base_weight': 1.0,
  }
  return MaskedCodes(**{**settings, **changes})


class TestMaskedCodes(Conformance):
  relative_tolerance = 1e-4

  def objective(self):
    return objective()

  def batch(self):
    return make_batch()


class TestHiddenBasesByThrees(Conformance):
  relative_tolerance = 1e-4

  def objective(self):
    return objective(
      tokens=frozen('finite scalar'),
      hides='bases',
      masking=SpanMasking(0.4, 2),
    )

  def batch(self):
    return make_batch()


class TestReadKMers(Conformance):
  relative_tolerance = 1e-4

  def objective(self):
    return objective(
      tokens=KMers(3), hides='bases', reader=ReaderConfig(8, 5, 16, 3)
    )

  def batch(self):
    return make_batch()


def hide(made, batch, train=True):
  _, state = made.init(jax.random.key(0))
  return made.hide(state, batch, jax.random.key(1), train=train), state


@pytest.fixture
def batch():
  return jax.tree.map(jnp.asarray, make_batch())


def test_the_loss_sums_the_levels_and_the_bases(batch):
  made = objective()
  model, state = made.init(jax.random.key(0))
  key = jax.random.key(1)
  loss, (_, metrics) = made.loss(model, state, batch, key, train=True)
  parts = ('level1/nats', 'level2/nats', 'base_nats')
  total = sum(metrics[part].value() for part in parts)
  np.testing.assert_allclose(loss, total, rtol=1e-6)


def test_published_masking_shows_codes_made_of_hidden_bases(batch):
  found, state = hide(objective(), batch)
  whole = frozen()(state, batch)
  np.testing.assert_array_equal(found.shown.vectors, whole.vectors)
  assert found.is_masked.any()


def test_hidden_bases_reach_no_vector(batch):
  """Changing every hidden base changes nothing that the encoder is shown."""
  made = objective(hides='bases', masking=SpanMasking(0.4, 5))
  found, state = hide(made, batch)
  turned = jnp.where(
    found.is_masked & (batch['sequence'] < 4),
    (batch['sequence'] + 1) % 4,
    batch['sequence'],
  ).astype(jnp.uint8)
  other = made.hide(
    state, {**batch, 'sequence': turned}, jax.random.key(1), train=True
  )
  np.testing.assert_array_equal(found.shown.vectors, other.shown.vectors)
  changed = [np.any(a != b) for a, b in zip(found.ids, other.ids, strict=True)]
  assert all(changed)


def test_shares_of_what_is_hidden():
  batch = jax.tree.map(jnp.asarray, make_batch(rows=64, length=120))
  made = objective(shown_share=0.3, random_share=0.2)
  found, state = hide(made, batch)
  whole = frozen()(state, batch)
  is_target = np.asarray(found.is_target)
  is_masked = np.asarray(found.is_masked)[is_target]
  same = np.all(found.shown.vectors == whole.vectors, -1)[is_target]
  deviation = 4 * (0.25 / is_target.sum()) ** 0.5
  assert abs(is_masked.mean() - 0.5) < deviation
  # A token that was drawn may be the same by chance.
  assert abs((~is_masked & ~same).mean() - 0.2) < deviation + 0.05
  found, _ = hide(made, batch, train=False)
  assert found.is_masked[found.is_target].all()


def test_an_unknown_base_is_no_target(batch):
  found, _ = hide(objective(masking=SpanMasking(1.0)), batch)
  is_base = (batch['sequence'] < 4) & (batch['segment_ids'] > 0)
  np.testing.assert_array_equal(found.is_target, is_base)


def test_checkpoints_know_the_vocabulary():
  one = objective()
  other = dataclasses.replace(one, tokens=frozen('finite scalar'))
  assert one.vocabulary != other.vocabulary


def test_the_vocabulary_stays_as_it_is(batch):
  made = objective()
  model, state = made.init(jax.random.key(0))
  key = jax.random.key(1)
  _, (after, _) = made.loss(model, state, batch, key, train=True)
  jax.tree.map(np.testing.assert_array_equal, state, after)


def test_hidden_bases_need_a_vocabulary_that_has_met_them(tmp_path):
  never = dataclasses.replace(LEARNINGS['two levels'], masking=None)
  tokens = Frozen(str(write(never, tmp_path)[0]))
  with pytest.raises(ValueError, match='with the arm masked'):
    objective(tokens=tokens, hides='bases')
  assert objective(tokens=tokens).hides == 'tokens'


def test_what_contradicts_itself_is_refused():
  with pytest.raises(ValueError, match='nothing is shown'):
    objective(hides='bases', shown_share=0.1)
  with pytest.raises(ValueError, match='from 0 to 1'):
    objective(shown_share=0.6, random_share=0.6)
