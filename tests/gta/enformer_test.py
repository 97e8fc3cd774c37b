"""Enformer: its golden values, and the public port with equal weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from data_pipelines.errors import InputError
from gta import enformer_positions, enformer_sonnet, enformer_weights
from gta.enformer import Enformer, EnformerConfig
from gta.enformer_positions import position_features

SMALL = EnformerConfig(
  num_bases=512,
  width=96,
  tower=(48, 96),
  num_layers=2,
  num_heads=2,
  key_width=8,
  num_targets=48,
  head_sizes=(('human', 5), ('mouse', 3)),
  num_position_features=48,
)


def _gamma():
  """The 32 columns at the published length, by distance from 0."""
  features = position_features(1_536, 192)
  assert features.shape == (3_071, 192)
  np.testing.assert_array_equal(features[:, 64:96], features[::-1, 64:96])
  return features[1_535:, 64:96]


def test_golden_values_of_the_gamma_basis():
  """Of TensorFlow's table, as published; ours is computed in float64."""
  gamma = _gamma()
  assert gamma[:, 0].max() == 1.0
  np.testing.assert_allclose(gamma[0, 0], 5.356e-7, rtol=5e-3)
  np.testing.assert_allclose(gamma[1, 0], 3.966e-4, rtol=5e-3)
  for distance in (0, 1):
    assert np.all(gamma[distance, 1:] > 5.82e-7)
    assert np.all(gamma[distance, 1:] < 6.04e-7)
  peaks = gamma.argmax(0)
  assert peaks[:5].tolist() == [36, 90, 140, 189, 238]
  assert peaks[-1] == 1_535
  np.testing.assert_allclose(
    gamma[100, :3], [0.10348, 0.91736, 0.16923], atol=3e-3
  )


def test_the_other_families_and_the_signed_half():
  features = position_features(1_536, 192)
  distance = np.arange(-1_535, 1_536)
  sign = np.sign(distance)[:, None]
  np.testing.assert_array_equal(features[:, 96:], sign * features[:, :96])
  # A half-life of eight bins is the shortest, of 1,536 the longest.
  assert features[1_535 + 8, 0] == pytest.approx(0.5)
  assert features[-1, 31] == pytest.approx(0.5, abs=1e-3)
  central = features[:, 32:64]
  assert central.sum(0)[:3].tolist() == [1, 5, 13]
  assert central[:, -1].all()


def test_the_published_size_has_its_parameters():
  model = nnx.eval_shape(
    lambda: Enformer(EnformerConfig(), key=jax.random.key(0))
  )
  sizes = {'statistics': 0, 'parameters': 0}
  for path, leaf in nnx.to_flat_state(nnx.state(model)):
    kind = 'statistics' if path[-1] in ('mean', 'variance') else 'parameters'
    sizes[kind] += int(np.prod(leaf.shape))
  assert sizes == {'parameters': 251_221_292, 'statistics': 29_696}


def test_the_shift_reads_scores_by_distance():
  length = 7
  scores = np.random.default_rng(0).normal(size=(2, 3, length, 2 * length - 1))
  at = np.arange(length) - np.arange(length)[:, None] + length - 1
  wanted = np.take_along_axis(scores, at[None, None], axis=-1)
  found = enformer_positions.relative_shift(jnp.asarray(scores))
  np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize(
  'change',
  [
    {'num_bases': 500},
    {'num_targets': 70},
    {'num_heads': 5},
    {'num_position_features': 50},
  ],
)
def test_sizes_that_do_not_fit_are_refused(change):
  with pytest.raises(ValueError, match=next(iter(change))):
    EnformerConfig(
      **{**{f: getattr(SMALL, f) for f in SMALL.__dataclass_fields__}, **change}
    )


@pytest.fixture(scope='module')
def peer():
  """The public port with random weights and statistics, its gamma corrected."""
  torch = pytest.importorskip('torch')
  port = pytest.importorskip('enformer_pytorch.modeling_enformer')
  torch.manual_seed(0)
  config = port.EnformerConfig(
    dim=SMALL.width,
    depth=SMALL.num_layers,
    heads=SMALL.num_heads,
    output_heads=dict(SMALL.head_sizes),
    target_length=SMALL.num_targets,
    attn_dim_key=SMALL.key_width,
    num_downsamples=3,
    dim_divisible_by=8,
  )
  model = port.Enformer(config).eval()
  with torch.no_grad():
    for name, tensor in model.state_dict().items():
      if name.endswith('running_var'):
        tensor.uniform_(0.5, 2.0)
      elif tensor.is_floating_point():
        fan_in = tensor.numel() / tensor.shape[0]
        tensor.add_(0.3 * fan_in**-0.5 * torch.randn_like(tensor))

  def corrected(positions, features, seq_len, dtype):
    table = enformer_positions._gamma(
      np.abs(positions.numpy())[:, None].astype(float), seq_len, features
    )
    return torch.tensor(table, dtype=dtype)

  original = port.get_positional_features_gamma
  port.get_positional_features_gamma = corrected
  yield model
  port.get_positional_features_gamma = original


def _tensors(peer):
  return {name: x.float().numpy() for name, x in peer.state_dict().items()}


def _bases(seed=0):
  rng = np.random.default_rng(seed)
  index = rng.integers(0, 5, (2, SMALL.num_bases))
  return np.eye(5)[index][..., :4].astype(np.float32)


def test_equal_weights_give_equal_features_and_tracks(peer):
  import torch

  model = enformer_weights.convert(_tensors(peer), SMALL, source='peer')
  bases = _bases()
  with torch.no_grad():
    wanted = peer(torch.tensor(bases), return_only_embeddings=True).numpy()
    tracks = {k: v.numpy() for k, v in peer(torch.tensor(bases)).items()}
  graph, state = nnx.split(model)

  @jax.jit
  def run(state, bases):
    made = nnx.merge(graph, state)
    features = made.features(bases)
    return features, {k: made.tracks(features, k) for k in ('human', 'mouse')}

  features, found = run(state, bases)
  assert features.shape == (2, SMALL.num_targets, 2 * SMALL.width)
  scale = np.abs(wanted).max()
  assert np.abs(features - wanted).max() <= 1e-5 * scale
  for species, values in tracks.items():
    assert np.abs(found[species] - values).max() <= 1e-5 * values.max()


def test_a_file_in_the_public_layout_is_read(peer, tmp_path):
  torch = pytest.importorskip('torch')
  torch.save(peer.state_dict(), tmp_path / 'pytorch_model.bin')
  model = enformer_weights.load(tmp_path, SMALL)
  direct = enformer_weights.convert(_tensors(peer), SMALL, source='peer')
  jax.tree.map(
    np.testing.assert_array_equal, nnx.state(model), nnx.state(direct)
  )


def _as_sonnet(tensors):
  """Arrays of the port by the names, and in the layouts, of the checkpoint."""
  given = {}

  def norm(name, theirs):
    given[f'{theirs}/scale'] = tensors[f'{name}.weight']
    given[f'{theirs}/offset'] = tensors[f'{name}.bias']
    for ours, other in (('mean', 'mean'), ('var', 'variance')):
      value = tensors[f'{name}.running_{ours}'][None, None]
      given[f'{theirs}/moving_{other}/average'] = value
    given[f'{theirs}/moving_mean/counter'] = np.zeros((), np.int64)

  def convolution(name, theirs):
    given[f'{theirs}/w'] = tensors[f'{name}.weight'].transpose(2, 1, 0)
    given[f'{theirs}/b'] = tensors[f'{name}.bias']

  def block(name, theirs):
    norm(f'{name}.0', f'{theirs}/cross_replica_batch_norm')
    convolution(f'{name}.2', f'{theirs}/conv1_d')

  def pool(name, theirs):
    kernel = tensors[f'{name}.to_attn_logits.weight'][:, :, 0, 0].T
    given[f'{theirs}/softmax_pooling/linear/w'] = kernel

  def linear(name, theirs, has_bias=True):
    given[f'{theirs}/w'] = tensors[f'{name}.weight'].T
    if has_bias:
      given[f'{theirs}/b'] = tensors[f'{name}.bias']

  trunk = 'enformer/trunk'
  convolution('stem.0', f'{trunk}/stem/conv1_d')
  block('stem.1.fn', f'{trunk}/stem/pointwise_conv_block')
  pool('stem.2', f'{trunk}/stem')
  for i in range(len(SMALL.tower)):
    theirs = f'{trunk}/conv_tower/conv_tower_block_{i}'
    block(f'conv_tower.{i}.0', f'{theirs}/conv_block')
    block(f'conv_tower.{i}.1.fn', f'{theirs}/pointwise_conv_block')
    pool(f'conv_tower.{i}.2', theirs)
  for i in range(SMALL.num_layers):
    name = f'transformer.{i}'
    theirs = f'{trunk}/transformer/transformer_block_{i}'
    for ours, part in (('0.fn.0', 'mha'), ('1.fn.0', 'mlp')):
      given[f'{theirs}/{part}/layer_norm/scale'] = tensors[
        f'{name}.{ours}.weight'
      ]
      given[f'{theirs}/{part}/layer_norm/offset'] = tensors[
        f'{name}.{ours}.bias'
      ]
    mixer, other = f'{name}.0.fn.1', f'{theirs}/mha/attention_{i}'
    for ours, part in (('q', 'q'), ('k', 'k'), ('v', 'v'), ('rel_k', 'r_k')):
      linear(f'{mixer}.to_{ours}', f'{other}/{part}_layer', has_bias=False)
    linear(f'{mixer}.to_out', f'{other}/embedding_layer')
    given[f'{other}/r_w_bias'] = tensors[f'{mixer}.rel_content_bias']
    given[f'{other}/r_r_bias'] = tensors[f'{mixer}.rel_pos_bias']
    linear(f'{name}.1.fn.1', f'{theirs}/mlp/project_in')
    linear(f'{name}.1.fn.4', f'{theirs}/mlp/project_out')
  block('final_pointwise.1', f'{trunk}/final_pointwise/conv_block')
  for species, _ in SMALL.head_sizes:
    theirs = f'enformer/heads/head_{species}/linear'
    linear(f'_heads.{species}.0', theirs)
  return given


def test_sonnets_names_give_the_same_model(peer, tmp_path):
  given = _as_sonnet(_tensors(peer))
  np.savez(tmp_path / 'enformer.npz', **given)
  found = enformer_sonnet.load(tmp_path / 'enformer.npz', SMALL)
  wanted = enformer_weights.convert(_tensors(peer), SMALL, source='peer')
  jax.tree.map(
    np.testing.assert_array_equal, nnx.state(found), nnx.state(wanted)
  )
  name = 'enformer/trunk/transformer/transformer_block_1/mlp/project_in/w'
  del given[name]
  with pytest.raises(InputError, match=f'{name} is missing'):
    enformer_sonnet.convert(given, SMALL, source='a file')
  (tmp_path / 'enformer.npz').write_bytes(b'none')
  with pytest.raises(InputError, match=r'no \.npz of variables'):
    enformer_sonnet.load(tmp_path / 'enformer.npz', SMALL)


def test_the_first_tensor_that_does_not_fit_is_named(peer):
  tensors = _tensors(peer)
  name = 'conv_tower.1.0.2.weight'
  for change, message in (
    ({name: None}, f'{name} is missing'),
    ({name: tensors[name][:1]}, f'{name} is .* it is '),
    ({'stem.9.weight': np.zeros(1)}, 'stem.9.weight is not in a model'),
  ):
    given = {k: v for k, v in {**tensors, **change}.items() if v is not None}
    with pytest.raises(InputError, match=message) as caught:
      enformer_weights.convert(given, SMALL, source='a file')
    assert str(caught.value).startswith('a file: ')
  with pytest.raises(InputError, match=r'no model\.safetensors'):
    enformer_weights.load('/nonexistent', SMALL)
