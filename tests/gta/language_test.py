"""Decoders beside the public implementation, and a trained one."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from data_pipelines.errors import InputError
from gta.language import llama2c, weights
from gta.language.gpt2 import GPT2, GPT2Config
from gta.language.llama import Llama, LlamaConfig, RopeScaling, frequencies
from tests.real_data import data_path

# Of issue 6: logits, relative to the largest.
TOLERANCE = 1e-4
LLAMA = {
  'vocab_size': 97,
  'hidden_size': 48,
  'intermediate_size': 80,
  'num_hidden_layers': 3,
  'num_attention_heads': 6,
  'num_key_value_heads': 2,
  'max_position_embeddings': 256,
  'rms_norm_eps': 1e-6,
}
SCALING = {
  'rope_type': 'llama3',
  'factor': 8.0,
  'low_freq_factor': 1.0,
  'high_freq_factor': 4.0,
  'original_max_position_embeddings': 32,
}
PEERS = {
  'grouped queries': ('llama', LLAMA),
  'tied, longer waves': (
    'llama',
    {**LLAMA, 'tie_word_embeddings': True, 'rope_scaling': SCALING},
  ),
  'wide heads': (
    'llama',
    {**LLAMA, 'num_key_value_heads': 6, 'head_dim': 16, 'rope_theta': 5e5},
  ),
  'gpt2': (
    'gpt2',
    {
      'vocab_size': 97,
      'n_embd': 48,
      'n_layer': 3,
      'n_head': 4,
      'n_positions': 64,
    },
  ),
}


@pytest.fixture(scope='module', params=PEERS)
def saved(request, tmp_path_factory):
  """A peer with random weights, and the folder it was saved in."""
  torch = pytest.importorskip('torch')
  transformers = pytest.importorskip('transformers')
  family, sizes = PEERS[request.param]
  torch.manual_seed(0)
  if family == 'llama':
    config = transformers.LlamaConfig(**sizes, attn_implementation='eager')
    peer = transformers.LlamaForCausalLM(config)
  else:
    config = transformers.GPT2Config(**sizes, attn_implementation='eager')
    peer = transformers.GPT2LMHeadModel(config)
  with torch.no_grad():
    for name, parameter in peer.named_parameters():
      if name.endswith('bias'):
        parameter.normal_(0, 0.1)
      elif 'norm' in name or '.ln_' in name:
        parameter.normal_(1, 0.1)
      else:
        parameter.normal_(0, parameter.shape[-1] ** -0.5)
  folder = tmp_path_factory.mktemp('peer')
  peer.eval().save_pretrained(folder)
  return peer, folder


def _tokens(rows=3, length=20):
  return np.random.default_rng(0).integers(0, 97, (rows, length))


def _is_token(side):
  """Rows of 20, 13 and 6 tokens, padded on one side."""
  at = np.arange(20)
  lengths = np.array([[20], [13], [6]])
  return at < lengths if side == 'right' else at >= 20 - lengths


def _run(model, tokens, is_token, past=None):
  graph, state = nnx.split(model)

  @jax.jit
  def run(state, tokens, is_token, past):
    decoder = nnx.merge(graph, state)
    hidden, past = decoder(decoder.embed(tokens), is_token, past)
    return decoder.scores(hidden), past

  scores, past = run(state, jnp.asarray(tokens), jnp.asarray(is_token), past)
  return np.asarray(scores), past


@pytest.mark.parametrize('side', ['left', 'right'])
def test_equal_weights_give_equal_scores(saved, side):
  import torch

  peer, folder = saved
  tokens, is_token = _tokens(), _is_token(side)
  positions = np.maximum(is_token.cumsum(-1) - 1, 0)
  with torch.no_grad():
    wanted = peer(
      torch.tensor(tokens),
      attention_mask=torch.tensor(is_token.astype(int)),
      position_ids=torch.tensor(positions),
    ).logits.numpy()
  found, _ = _run(weights.load(folder), tokens, is_token)
  scale = np.abs(wanted[is_token]).max()
  assert np.abs(found - wanted)[is_token].max() <= TOLERANCE * scale


def test_a_past_is_as_good_as_the_whole(saved):
  """A prompt first, padded on the right, then what follows, in two calls."""
  _, folder = saved
  model = weights.load(folder)
  tokens, is_token = _tokens(), _is_token('right')
  prompt = is_token[:, :9]
  is_token = np.concatenate([prompt, np.ones((3, 11), bool)], axis=1)
  whole, _ = _run(model, tokens, is_token)
  _, past = _run(model, tokens[:, :9], is_token[:, :9])
  first, past = _run(model, tokens[:, 9:14], is_token[:, 9:14], past)
  second, past = _run(model, tokens[:, 14:], is_token[:, 14:], past)
  found = np.concatenate([first, second], axis=1)
  scale = np.abs(whole).max()
  assert np.abs(found - whole[:, 9:]).max() <= 1e-5 * scale
  np.testing.assert_array_equal(past.is_token, is_token)


def test_no_token_sees_a_later_one_or_padding(saved):
  _, folder = saved
  model = weights.load(folder)
  tokens, is_token = _tokens(), _is_token('right')
  before, _ = _run(model, tokens, is_token)
  changed = np.where(is_token, tokens, (tokens + 1) % 97)
  changed[:, 5:] = (changed[:, 5:] + 1) % 97
  after, _ = _run(model, changed, is_token)
  np.testing.assert_array_equal(before[:, :5], after[:, :5])
  assert (before[0, 5:] != after[0, 5:]).any()


def test_the_first_layers_alone_can_be_read(saved):
  _, folder = saved
  model = weights.load(folder, num_layers=2)
  whole = weights.load(folder)
  first, kept = (
    jax.tree.leaves(nnx.to_pure_dict(nnx.state(m.stack)))
    for m in (model, whole)
  )
  for one, other in zip(first, kept, strict=True):
    np.testing.assert_array_equal(one, other[:2])


def test_weights_that_do_not_fit_are_named(saved, tmp_path):
  _, folder = saved
  config = json.loads((folder / 'config.json').read_text())
  files = [p for p in folder.iterdir() if p.suffix == '.safetensors']

  def written(**changes):
    for file in files:
      (tmp_path / file.name).write_bytes(file.read_bytes())
    text = json.dumps({**config, **changes})
    (tmp_path / 'config.json').write_text(text)
    return tmp_path

  with pytest.raises(InputError, match='in a model of this size it is'):
    weights.load(written(vocab_size=98))
  with pytest.raises(InputError, match='is missing'):
    weights.load(written(num_hidden_layers=4, n_layer=4))
  with pytest.raises(InputError, match="model_type 'bert'"):
    weights.load(written(model_type='bert'))


def test_turns_are_read_as_newer_versions_write_them(tmp_path):
  def read(**rope):
    text = json.dumps({**LLAMA, 'model_type': 'llama', **rope})
    (tmp_path / 'config.json').write_text(text)
    return weights.read_config(tmp_path, num_layers=None, dtype='float32')

  older = read(rope_theta=5e5, rope_scaling=SCALING)
  newer = read(rope_parameters={**SCALING, 'rope_theta': 5e5})
  assert older == newer and older.rope_base == 5e5
  assert read(rope_theta=1e4, rope_scaling=None).rope_scaling is None
  with pytest.raises(InputError, match='no rope_theta'):
    read()


def test_published_sizes_and_turns():
  config = LlamaConfig(1, 64, 4, 2, 32, 10, rope_scaling=RopeScaling())
  plain = frequencies(LlamaConfig(1, 64, 4, 2, 32, 10))
  found = frequencies(config)
  assert found[0] == plain[0]
  assert found[-1] == pytest.approx(plain[-1] / 8)
  with pytest.raises(ValueError, match='num_groups'):
    LlamaConfig(1, 64, 4, 3, 32, 10)
  with pytest.raises(ValueError, match='num_heads'):
    GPT2Config(num_heads=7)


def test_gpt2_has_no_more_positions():
  config = GPT2Config(1, 8, 2, 5, 4, remat='none')
  model = GPT2(config, key=jax.random.key(0))
  with pytest.raises(ValueError, match='positions for 4'):
    model(jnp.zeros((1, 5, 8)), jnp.ones((1, 5), bool))


STORY = (
  'Once upon a time, there was a little girl named Lily. She loved to play '
  'outside in the park. One day, she saw a big, red ball. She wanted to play '
  'with it, but it was too high.'
)


def test_a_trained_model_tells_its_documented_story():
  folder = data_path('tiny_lm_stories260k')
  model = llama2c.load(folder / 'stories260K.bin')
  assert isinstance(model, Llama)
  vocabulary = llama2c.Vocabulary(folder / 'tok512.bin')
  tokens = llama2c.greedy(model, [llama2c.START], 100)
  assert vocabulary.decode(tokens.tolist()).startswith(STORY)
  encoded = vocabulary.encode(STORY)
  assert vocabulary.decode(encoded) == STORY
  # What it wrote is what its own words are.
  assert encoded == tokens[: len(encoded)].tolist()


def test_a_cut_file_is_one_line(tmp_path):
  folder = data_path('tiny_lm_stories260k')
  cut = tmp_path / 'cut.bin'
  content = (folder / 'stories260K.bin').read_bytes()
  for size, message in ((10, 'no llama2.c model'), (5_001, 'its header says')):
    cut.write_bytes(content[:size])
    with pytest.raises(InputError, match=message):
      llama2c.load(cut)
  cut.write_bytes((folder / 'tok512.bin').read_bytes()[:-1])
  with pytest.raises(InputError, match='ends within a piece'):
    llama2c.Vocabulary(cut)
