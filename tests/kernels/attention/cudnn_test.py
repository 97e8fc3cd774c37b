"""The cuDNN form: what it hands over, what it refuses; its values on a GPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from backbone.kernels import dispatch
from backbone.kernels.attention import api
from tests.kernels.attention.forms_test import NAMES, compare
from tests.kernels.gated_delta.forms_test import packed


def make_inputs(length, dtype=jnp.bfloat16):
  rng = np.random.default_rng(length)
  shape = (2, length, 2, 16)
  return {n: jnp.asarray(rng.normal(size=shape), dtype) for n in NAMES}


def run(inputs):
  arguments = [inputs[n] for n in NAMES]
  return api.attention(*arguments, implementation='cudnn')


@pytest.fixture
def on_gpu(monkeypatch):
  monkeypatch.setattr(dispatch, 'platform', lambda: 'gpu')


def test_other_platforms_raise():
  with pytest.raises(NotImplementedError, match='does not run on cpu'):
    run(make_inputs(8))


def test_float32_raises(on_gpu):
  with pytest.raises(NotImplementedError, match='float32'):
    run(make_inputs(8, jnp.float32))


def test_values_of_another_width_raise(on_gpu):
  inputs = make_inputs(8)
  inputs['value'] = inputs['value'][..., :8]
  with pytest.raises(NotImplementedError, match='wide'):
    run(inputs)


@pytest.mark.parametrize('window', [None, 10])
@pytest.mark.parametrize('length', [64, 77])
def test_mask_that_is_handed_over(on_gpu, monkeypatch, length, window):
  """By JAX's own form of the same function, which takes the same arguments."""
  lengths, original = [], jax.nn.dot_product_attention

  def record(query, *arguments, implementation, **options):
    assert implementation == 'cudnn'
    lengths.append(query.shape[1])
    return original(query, *arguments, implementation='xla', **options)

  monkeypatch.setattr(jax.nn, 'dot_product_attention', record)
  options = {'segment_ids': packed(length), 'window': window}
  compare(make_inputs(length), 'cudnn', **options)
  assert lengths and all(n % 2 == 0 for n in lengths)


def test_lowers_for_cuda(on_gpu):
  gradient = jax.grad(lambda inputs: jnp.sum(run(inputs)))
  try:
    traced = jax.jit(gradient).trace(make_inputs(64))
    lowered = traced.lower(lowering_platforms=('cuda',))
  except RuntimeError as error:
    pytest.skip(f'needs a GPU: {error}')
  assert '__cudnn$fmha' in lowered.as_text()


@pytest.mark.gpu
@pytest.mark.skipif(jax.default_backend() != 'gpu', reason='needs a GPU')
@pytest.mark.parametrize('window', [None, 10])
@pytest.mark.parametrize('length', [64, 77, 700])
def test_equals_reference(length, window):
  options = {'segment_ids': packed(length), 'window': window}
  compare(make_inputs(length), 'cudnn', **options)
