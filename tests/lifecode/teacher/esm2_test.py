"""ESM-2 beside the public implementation, with its weights."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from data_pipelines.errors import InputError
from lifecode.teacher import esm2, weights
from lifecode.teacher.esm2 import CLS, EOS, MASK, PAD

torch = pytest.importorskip('torch')
transformers = pytest.importorskip('transformers')

# Of Must show 1 (issue text): float32, relative to the largest value.
TOLERANCE = 1e-5
SIZES = {
  'narrow': {'num_layers': 2, 'width': 32, 'num_heads': 2},
  'deep': {'num_layers': 7, 'width': 48, 'num_heads': 6},
  '8m': {'num_layers': 6, 'width': 320, 'num_heads': 20},
}


def make_peer(num_layers, width, num_heads):
  """The public model with weights of our own, biases and norms included."""
  config = transformers.EsmConfig(
    vocab_size=33,
    mask_token_id=MASK,
    pad_token_id=PAD,
    hidden_size=width,
    num_hidden_layers=num_layers,
    num_attention_heads=num_heads,
    intermediate_size=4 * width,
    position_embedding_type='rotary',
    token_dropout=True,
    emb_layer_norm_before=False,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    max_position_embeddings=1026,
    layer_norm_eps=1e-5,
  )
  torch.manual_seed(0)
  model = transformers.EsmForMaskedLM(config).eval()
  with torch.no_grad():
    for name, parameter in model.named_parameters():
      if name.endswith('bias'):
        parameter.normal_(0, 0.1)
      elif 'LayerNorm' in name or 'layer_norm' in name:
        parameter.normal_(1, 0.1)
      else:
        parameter.normal_(0, parameter.shape[-1] ** -0.5)
  return model


@pytest.fixture(scope='module', params=SIZES)
def saved(request, tmp_path_factory):
  """A peer, and a folder that it was saved in."""
  model = make_peer(**SIZES[request.param])
  folder = tmp_path_factory.mktemp(request.param)
  model.save_pretrained(folder)
  return model, folder


def draw_rows(lengths):
  """Proteins [rows, tokens] of different lengths, some residues masked."""
  rng = np.random.default_rng(0)
  tokens = np.full((len(lengths), max(lengths)), PAD)
  for row, length in zip(tokens, lengths, strict=True):
    row[:length] = rng.integers(4, 24, length)
    row[: length - 2][rng.random(length - 2) < 0.2] = MASK
    row[0], row[length - 1] = CLS, EOS
  return tokens


def run_ours(model, tokens, segment_ids=None, positions=None):
  if segment_ids is None:
    segment_ids = np.asarray(tokens != PAD, np.int32)
    positions = np.broadcast_to(np.arange(tokens.shape[1]), tokens.shape)
  arguments = [jnp.asarray(x) for x in (tokens, segment_ids, positions)]
  hidden = model.hidden_states(*arguments)
  np.testing.assert_allclose(
    model.encode(*arguments), hidden[-1], rtol=1e-5, atol=1e-5
  )
  return np.asarray(hidden), np.asarray(model.logits(hidden[-1]))


def run_peer(model, tokens):
  """Hidden states and logits of all tokens, one protein at a time.

  In a padded row transformers 4.56 counts padding among the tokens, and so
  makes up for too few masked ones.
  """
  hidden, logits = [], []
  for row in tokens:
    with torch.no_grad():
      output = model(
        torch.tensor(row[None, row != PAD]), output_hidden_states=True
      )
    hidden.append(np.concatenate([x.numpy() for x in output.hidden_states]))
    logits.append(output.logits[0].numpy())
  return np.concatenate(hidden, axis=1), np.concatenate(logits)


def assert_equal(actual, expected):
  assert actual.shape == expected.shape
  error = np.abs(actual - expected).max() / np.abs(expected).max()
  assert error <= TOLERANCE, f'{error:.1e}'


def test_equals_public_implementation(saved):
  """Every hidden state and the logits, of padded rows, loaded from files."""
  peer, folder = saved
  tokens = draw_rows([70, 33, 52])
  is_token = tokens != PAD
  hidden, logits = run_ours(weights.load(folder), tokens)
  expected_hidden, expected_logits = run_peer(peer, tokens)
  assert_equal(logits[is_token], expected_logits)
  for actual, expected in zip(hidden, expected_hidden, strict=True):
    assert_equal(actual[is_token], expected)


def test_torch_files_load_as_well(saved, tmp_path):
  peer, folder = saved
  shutil.copy(folder / 'config.json', tmp_path)
  torch.save(peer.state_dict(), tmp_path / 'pytorch_model.bin')
  tokens = draw_rows([40])
  expected = run_ours(weights.load(folder), tokens)
  for actual, wanted in zip(
    run_ours(weights.load(tmp_path), tokens), expected, strict=True
  ):
    np.testing.assert_array_equal(actual, wanted)


def test_weights_in_parts(saved, tmp_path):
  peer, folder = saved
  peer.save_pretrained(tmp_path, max_shard_size='100KB')
  parts = list(tmp_path.glob('*.safetensors'))
  tokens = draw_rows([40])
  wanted = run_ours(weights.load(folder), tokens)[1]
  np.testing.assert_array_equal(
    run_ours(weights.load(tmp_path), tokens)[1], wanted
  )
  if len(parts) > 1:
    parts[0].unlink()
    with pytest.raises(InputError, match='index names it'):
      weights.load(tmp_path)


def test_packed_proteins_equal_separate_ones(saved):
  _, folder = saved
  model = weights.load(folder)
  lengths = (30, 21, 45)
  rows = draw_rows(lengths)
  apart, apart_logits = run_ours(model, rows)
  joined = np.concatenate(
    [row[:n] for row, n in zip(rows, lengths, strict=True)]
  )
  segment_ids = np.repeat([1, 2, 3], lengths)
  positions = np.concatenate([np.arange(n) for n in lengths])
  hidden, logits = run_ours(
    model, joined[None], segment_ids[None], positions[None]
  )
  is_token = rows != PAD
  assert_equal(hidden[:, 0], apart[:, is_token])
  assert_equal(logits[0], apart_logits[is_token])


def test_sizes_are_those_published():
  """Parameters of the public models, in millions, by their names."""
  for name, config in esm2.SIZES.items():
    millions = float(name[:-1]) * (1_000 if name.endswith('b') else 1)
    model = jax.eval_shape(
      lambda config=config: nnx.state(esm2.ESM2(config, key=jax.random.key(0)))
    )
    count = sum(x.size for x in jax.tree.leaves(model))
    assert abs(count / 1e6 / millions - 1) < 0.07, (name, count)


class TestBadInput:
  @pytest.fixture
  def folder(self, saved, tmp_path):
    return shutil.copytree(saved[1], tmp_path / 'weights')

  def change(self, folder, **changes):
    file = folder / 'config.json'
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))

  def test_another_size(self, folder):
    self.change(folder, hidden_size=720, intermediate_size=2_880)
    with pytest.raises(InputError, match='in ESM-2 of width 720 it is'):
      weights.load(folder)

  def test_fewer_layers(self, folder):
    self.change(folder, num_hidden_layers=1)
    with pytest.raises(InputError, match=r'layer\.1.*not in ESM-2 of 1 layers'):
      weights.load(folder)

  def test_more_layers(self, folder):
    self.change(folder, num_hidden_layers=9)
    with pytest.raises(InputError, match='is missing'):
      weights.load(folder)

  @pytest.mark.parametrize(
    ('name', 'value'),
    [
      ('model_type', 'bert'),
      ('vocab_size', 30),
      ('position_embedding_type', 'absolute'),
      ('token_dropout', False),
      ('layer_norm_eps', 1e-12),
    ],
  )
  def test_another_model(self, folder, name, value):
    self.change(folder, **{name: value})
    with pytest.raises(InputError, match=f'config.json: {name} is'):
      weights.load(folder)

  def test_impossible_sizes(self, folder):
    self.change(folder, num_attention_heads=7)
    with pytest.raises(InputError, match=r'config\.json: width .* no multiple'):
      weights.load(folder)
    self.change(folder, num_attention_heads=None)
    with pytest.raises(InputError, match=r'config\.json: no num_heads'):
      weights.load(folder)

  def test_damaged_files(self, folder):
    (folder / 'model.safetensors').write_bytes(b'not weights')
    with pytest.raises(InputError, match=r'model\.safetensors: cannot be read'):
      weights.load(folder)
    (folder / 'model.safetensors').unlink()
    with pytest.raises(InputError, match=r'no model\.safetensors and no'):
      weights.load(folder)
    (folder / 'config.json').write_text('{')
    with pytest.raises(InputError, match=r'config\.json: cannot be read'):
      weights.load(folder)
