"""The optimizer: schedule, decay mask, clipping."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from backbone.train.optim import AdamW


def test_schedule_rises_peaks_and_ends_at_its_fraction():
  schedule = AdamW(
    learning_rate=2.0, warmup_steps=10, final_fraction=0.25
  ).schedule(101)
  rates = np.asarray(jax.vmap(schedule)(jnp.arange(101)))
  assert rates[0] > 0
  assert np.all(np.diff(rates[:11]) > 0)
  assert rates[10] == pytest.approx(2.0)
  assert np.all(np.diff(rates[10:]) < 0)
  assert rates[100] == pytest.approx(0.5)
  assert rates[55] == pytest.approx(0.5 * (2.0 + 0.5), rel=0.02)


def test_norms_biases_and_rates_are_not_decayed():
  stacked = jnp.zeros((3, 4))
  params = {
    'blocks': {
      'norm': {'scale': stacked},
      'mixer': {
        'query': {'kernel': jnp.zeros((3, 4, 4)), 'bias': stacked},
        'decay': {'kernel': jnp.zeros((3, 4, 2))},
        'decay_log_rate': stacked,
        'decay_bias': stacked,
        'dt': stacked,
      },
    },
    'table': jnp.zeros((5, 4)),
    'vector': jnp.zeros(4),
  }
  mask = AdamW().decay_mask(params)
  decayed = [
    jax.tree_util.keystr(p, simple=True, separator='/')
    for p, is_decayed in jax.tree.leaves_with_path(mask)
    if is_decayed
  ]
  assert decayed == ['blocks/mixer/query/kernel', 'table']


def test_a_zero_gradient_only_decays():
  optimizer = AdamW(learning_rate=0.1, warmup_steps=0, weight_decay=0.5)
  params = {'table': jnp.ones((2, 2)), 'bias': jnp.ones((2, 2))}
  transform = optimizer.transform(10)
  zeros = jax.tree.map(jnp.zeros_like, params)
  updates, _ = transform.update(zeros, transform.init(params), params)
  np.testing.assert_allclose(updates['table'], -0.1 * 0.5, rtol=1e-6)
  np.testing.assert_array_equal(updates['bias'], 0.0)


def test_a_long_gradient_is_clipped():
  transform = AdamW(clip_norm=1.0, warmup_steps=0).transform(10)
  params = {'bias': jnp.zeros(2)}
  state = transform.init(params)
  _, state = transform.update({'bias': jnp.array([30.0, 40.0])}, state, params)
  first_moment = state[1][0].mu['bias']
  np.testing.assert_allclose(
    first_moment, 0.1 * np.array([0.6, 0.8]), rtol=1e-5
  )


def test_a_warm_up_longer_than_the_run_is_refused():
  with pytest.raises(ValueError, match='warmup_steps=10 is not below steps=10'):
    AdamW(warmup_steps=10).schedule(10)


@pytest.mark.parametrize('name', ['learning_rate', 'clip_norm', 'epsilon'])
def test_nonsense_is_refused(name):
  with pytest.raises(ValueError, match=name):
    AdamW(**{name: -1.0})
