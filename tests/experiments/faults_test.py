"""A run among faults ends as the one that nothing disturbed."""

import dataclasses
import textwrap
import time

import numpy as np

from tests.backbone.train.toy import Toy, ToyData, ToyIterator
from tests.experiments import faults

SECONDS = 0.01
CONFIG = """
  import ml_collections

  def get_config(arg=None):
    config = ml_collections.ConfigDict()
    config.objective = {'name': 'tests.experiments.faults_test:ScaledToy'}
    config.data = {'name': 'tests.experiments.faults_test:SlowToyData',
                   'path': '', 'batch_size': 8}
    config.optimizer = {'name': 'backbone.train.optim:AdamW',
                        'learning_rate': 0.02, 'warmup_steps': 5}
    config.train = {'steps': 1200, 'log_every': 10, 'evaluate_every': 600,
                    'evaluate_rows': 16, 'checkpoint_every': 50}
    return config
"""


class ScaledToy(Toy):
  """Its loss is as finite as the numbers of its batch."""

  def loss(self, model, aux, batch, key, *, train):
    loss, rest = super().loss(model, aux, batch, key, train=train)
    return loss * batch['scale'].mean(), rest


class SlowIterator(ToyIterator):
  def __next__(self):
    time.sleep(SECONDS)
    return super().__next__()


@dataclasses.dataclass(frozen=True)
class SlowToyData(ToyData):
  """With numbers, and slow enough for something to happen."""

  def batch(self, i):
    scale = np.ones((self.batch_size, 1), np.float32)
    return {**super().batch(i), 'scale': scale}

  def train(self, *, process_id, num_processes):
    return SlowIterator(self)


def test_a_run_among_faults_ends_as_if_there_were_none(tmp_path):
  config = tmp_path / 'toy.py'
  config.write_text(textwrap.dedent(CONFIG))
  number = len(faults.EVENTS)
  log, is_same = faults.run_among_faults(
    str(config), tmp_path, lambda events: events >= number, 100, []
  )
  assert is_same
  said = {event: (code, lines) for event, _, code, lines in log}
  assert said['kill'][0] == -9
  assert said['damage'][0] == -9
  for event, code, text in (
    ('nan', 3, 'the loss or its gradient is not finite'),
    ('slow', 75, 'for its batch'),
    ('signal', 75, 'stopped by a signal after step'),
    ('full disk', 2, 'the disk is full'),
    ('none', 0, 'goes on from step'),
  ):
    assert said[event][0] == code, log
    assert sum(text in line for line in said[event][1]) == 1, log
  # The start after the damage skips the checkpoint in one line.
  lines = said['full disk'][1]
  assert sum('is unreadable and skipped' in line for line in lines) == 1, log
  # No event tells more than a line of its own beside where the run goes on.
  assert max(len(lines) for _, _, _, lines in log) <= 3, log
