"""The probe for hidden bases, where the answer is known."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from backbone import sharding
from backbone.downstream import metrics
from data_pipelines import records
from data_pipelines.errors import InputError
from vqdna.codebook import CodebookConfig
from vqdna.leak import Examples, Leak, targets
from vqdna.network import NetworkConfig
from vqdna.objective import VocabularyLearning
from vqdna.quantizers import HierarchicalResidual

SMALL = Leak(400, bootstrap=metrics.Bootstrap(num_resamples=100))


def test_targets_are_apart_and_their_surroundings_known():
  sequence = np.zeros((1, 40), np.uint8)
  segment_ids = np.ones((1, 40), np.int32)
  segment_ids[:, 20:] = 2
  sequence[:, 3] = 4
  batch = {'sequence': sequence, 'segment_ids': segment_ids}
  found = np.flatnonzero(targets(batch, 1, 2)[0])
  # 2, 7, 12, ... without 2, which sees an N, and 22 and 17 are of one segment.
  assert found.tolist() == [7, 12, 17, 22, 27, 32, 37]
  batch['segment_ids'] = np.repeat([[1, 2, 0]], 14, axis=1)[:, :40]
  assert np.flatnonzero(targets(batch, 1, 2)[0]).tolist() == [7, 17, 22]


def test_the_probe_reads_what_stands_at_its_distance():
  rng = np.random.default_rng(0)
  truth = rng.integers(0, 4, 1_000)
  around = rng.normal(size=(1_000, 7, 4))
  around[:, 3 + 2] = np.eye(4)[truth]

  def examples(at):
    return Examples(truth[at], {'hidden_tokens': around[at]})

  train, test = examples(slice(0, 500)), examples(slice(500, None))
  told = [
    SMALL._score('hidden_tokens', distance, train, test).value
    for distance in (1, 2, 3)
  ]
  assert told[1] == 1 and max(told[0], told[2]) < 0.4


class Rows:
  """Random bases: nothing tells of a base but the base."""

  def evaluation(self, split, max_rows=None):
    rng = np.random.default_rng(len(split))
    shape = 40, 90
    batch = {
      'sequence': rng.integers(0, 4, shape).astype(np.uint8),
      'segment_ids': np.ones(shape, np.int32),
    }
    unknown = {**batch, 'sequence': np.full(shape, records.N, np.uint8)}
    return [('random/genome', [unknown, batch, batch])]


def make_context(data):
  """Random weights, and codes that a batch placed."""
  learning = VocabularyLearning(
    network=NetworkConfig(
      stem_width=8, width=16, num_blocks=1, taps=(1,), block_size=3
    ),
    quantiser=HierarchicalResidual((CodebookConfig(64),)),
  )
  model, codes = learning.init(jax.random.key(0))
  batch = Rows().evaluation('train')[0][1][1]
  codes = learning.quantise(
    model,
    codes,
    jax.tree.map(jnp.asarray, batch),
    jax.random.key(0),
    train=True,
  ).vocabulary
  return types.SimpleNamespace(
    objective=learning,
    model=model,
    aux=codes,
    data=data,
    mesh=sharding.make_mesh(devices=jax.devices()[:1]),
    seed=0,
  )


def test_random_weights_leak_as_far_as_they_reach():
  """Where nothing can be known, codes of hidden bases are at chance."""
  context = make_context(Rows())
  rows = SMALL.rows(context)
  by = {(row['task'], row['column']): row for row in rows}
  assert by['distance 1', 'hidden_tokens']['low'] > 0.3
  for column in ('hidden_bases', 'true_bases', 'majority'):
    assert by['distance 1', column]['low'] < 0.3
  reach = context.objective.network.reach
  assert 1 <= by['leak', 'hidden_tokens']['value'] <= reach


class Unknown:
  def evaluation(self, split, max_rows=None):
    ((label, batches),) = Rows().evaluation(split)
    return [(label, batches[:1])]


def test_rows_without_room_for_a_hidden_token_are_refused():
  with pytest.raises(InputError, match=r"'validation': no row has \d+ known"):
    SMALL.rows(make_context(Unknown()))
