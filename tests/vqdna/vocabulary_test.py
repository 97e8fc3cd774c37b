"""A vocabulary as an artefact: the same tokens after reading, or one line."""

import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines.errors import InputError
from tests.vqdna.batches import make_batch
from vqdna.codebook import CodebookConfig
from vqdna.finite_scalar import FiniteScalar
from vqdna.masking import SpanMasking
from vqdna.network import NetworkConfig
from vqdna.objective import VocabularyLearning
from vqdna.quantizers import HierarchicalResidual
from vqdna.vocabulary import Export, Frozen
from vqdna.words import standardised

LEARNINGS = {
  'two levels': VocabularyLearning(
    network=NetworkConfig(stem_width=8, width=16, num_blocks=2, taps=(1, 2)),
    quantiser=HierarchicalResidual((CodebookConfig(8), CodebookConfig(16))),
    masking=SpanMasking(),
  ),
  'finite scalar': VocabularyLearning(
    network=NetworkConfig(
      stem_width=8,
      width=16,
      num_blocks=2,
      taps=(2,),
      token_stride=3,
      code_width=2,
    ),
    quantiser=FiniteScalar((5, 4)),
    masking=SpanMasking(),
  ),
}


def write(learning, workdir):
  """A vocabulary of random weights, and how it reads a batch."""
  model, codes = learning.init(jax.random.key(3))
  context = types.SimpleNamespace(
    objective=learning, model=model, aux=codes, workdir=workdir
  )
  assert Export().rows(context) == []
  batch = jax.tree.map(jnp.asarray, make_batch())
  expected = learning.quantise(model, codes, batch, jax.random.key(0))
  return workdir / 'vocabulary', batch, expected


@pytest.mark.parametrize('name', LEARNINGS)
def test_what_is_read_gives_the_same_tokens(name, tmp_path):
  path, batch, expected = write(LEARNINGS[name], tmp_path)
  frozen = Frozen(str(path))
  assert frozen.sizes == LEARNINGS[name].quantiser.sizes
  found = frozen(frozen.init(), batch)
  jax.tree.map(np.testing.assert_array_equal, found.ids, expected.ids)
  quantiser = LEARNINGS[name].quantiser
  books = tuple(
    quantiser.codes(expected.vocabulary, level)
    for level in range(len(quantiser.sizes))
  )
  wanted = standardised(expected.vectors, books)
  np.testing.assert_allclose(found.vectors, wanted, rtol=1e-5, atol=1e-6)
  assert not found.is_real[:, 4 // frozen.network.token_stride].any()
  assert sorted(p.name for p in path.iterdir()) == [
    'vocabulary.json',
    'vocabulary.safetensors',
  ]


def test_writing_again_replaces_it(tmp_path):
  path, _, _ = write(LEARNINGS['two levels'], tmp_path)
  before = Frozen(str(path)).hash
  again, _, _ = write(LEARNINGS['finite scalar'], tmp_path)
  assert again == path and Frozen(str(path)).hash != before


def test_no_vocabulary_is_one_line(tmp_path):
  with pytest.raises(InputError, match='no vocabulary here'):
    Frozen(str(tmp_path))


def test_another_format_is_refused(tmp_path):
  (tmp_path / 'vocabulary.json').write_text('{"format_version": 99}')
  with pytest.raises(InputError, match='format 99, this code reads 1'):
    Frozen(str(tmp_path))


@pytest.mark.parametrize(
  'change',
  [
    lambda settings: settings.pop('network'),
    lambda settings: settings.pop('sha256'),
    lambda settings: settings['network'].update(hue=1),
    lambda settings: settings['quantiser'].pop('levels'),
  ],
)
def test_damaged_settings_are_one_line(change, tmp_path):
  path, _, _ = write(LEARNINGS['two levels'], tmp_path)
  file = path / 'vocabulary.json'
  settings = json.loads(file.read_text())
  change(settings)
  file.write_text(json.dumps(settings))
  with pytest.raises(InputError, match=r'vocabulary\.json: no settings of a'):
    Frozen(str(path))


def test_a_list_is_no_settings(tmp_path):
  (tmp_path / 'vocabulary.json').write_text('[]')
  with pytest.raises(InputError, match='format None, this code reads 1'):
    Frozen(str(tmp_path))


def test_a_flipped_byte_is_noticed(tmp_path):
  path, _, _ = write(LEARNINGS['two levels'], tmp_path)
  file = path / 'vocabulary.safetensors'
  content = bytearray(file.read_bytes())
  content[-1] ^= 1
  file.write_bytes(content)
  with pytest.raises(InputError, match='damaged, its checksum is wrong'):
    Frozen(str(path)).init()


def test_settings_of_another_network_are_refused(tmp_path):
  path, _, _ = write(LEARNINGS['two levels'], tmp_path)
  file = path / 'vocabulary.json'
  settings = json.loads(file.read_text())
  settings['network']['width'] = 32
  file.write_text(json.dumps(settings))
  with pytest.raises(InputError, match=r'\(8, 16\) there, \(8, 32\) by'):
    Frozen(str(path)).init()
