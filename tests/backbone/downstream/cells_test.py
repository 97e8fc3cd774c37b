"""Cells of tables of fine-tuned encoders, of one seed each."""

import numpy as np

from backbone.downstream.batches import BatchShape
from backbone.downstream.cells import FineTunes
from backbone.downstream.finetune_config import FineTuneConfig
from data_pipelines.tasks import Task
from tests.backbone.downstream.tiny_encoder import tiny

ENCODE = 'tests.backbone.downstream.tiny_encoder:encode'


def _task(num=80):
  """Whether there are more A than C."""
  rng = np.random.default_rng(0)
  sequences = [rng.integers(0, 4, 24).astype(np.uint8) for _ in range(num)]
  labels = np.array([(s == 0).sum() > (s == 1).sum() for s in sequences])
  split = np.array(['train', 'train', 'validation', 'test'])
  return Task('more', sequences, labels.astype(int), split[np.arange(num) % 4])


def test_a_fine_tuned_cell_is_of_its_seed_and_says_what_was_chosen():
  evaluator = FineTunes(
    encode=ENCODE,
    finetune=FineTuneConfig(
      learning_rates=(0.01,), epochs=3, batches=BatchShape(16, num_lengths=1)
    ),
  )
  task = _task()
  cells = [evaluator.of_model(task, tiny(), seed=seed) for seed in (0, 0, 1)]
  assert cells[0] == cells[1] != cells[2]
  assert cells[0]['low'] <= cells[0]['value'] <= cells[0]['high']
  assert cells[0]['epoch'] in (1, 2, 3) and cells[0]['learning_rate'] == 0.01
