"""Cells of a paper's table: one task under one model, with its interval."""

import dataclasses
import functools
import importlib
from typing import Any

import numpy as np
from flax import nnx

from backbone.downstream import examples, kmer, metrics
from backbone.downstream import probe as probes
from backbone.downstream.finetune import evaluate
from backbone.downstream.finetune_config import FineTuneConfig
from backbone.downstream.kmer import KmerConfig
from backbone.downstream.probe import ProbeConfig
from backbone.downstream.targets import make_targets
from data_pipelines.tasks import Task

Cell = dict[str, Any]


# Methods of both classes below, which have no base class: of one that has, a
# configuration is checked only when it is built.
def _check(self, task: Task) -> None:
  """Refuses a task that nothing can be fitted to (InputError)."""
  make_targets(task)


def _of_kmers(self, task: Task, counts: KmerConfig | None = None) -> Cell:
  """The test score of the counts that are best on validation."""
  score, chosen = kmer.evaluate(
    task,
    self.probe.bootstrap,
    counts or self.probe.baseline,
    self.probe.units,
  )
  return {**dataclasses.asdict(score), 'features': chosen}


def _of_rule(self, task: Task, rule: str) -> Cell:
  """The test score of 'module:function' of a task, which learns nothing."""
  is_test = task.split == 'test'
  groups = None if task.groups is None else task.groups[is_test]
  predicted = np.asarray(_load(rule)(task))[is_test]
  score = metrics.score(
    task.metric,
    task.labels[is_test],
    predicted,
    self.probe.bootstrap,
    groups=groups,
  )
  return dataclasses.asdict(score)


@dataclasses.dataclass(frozen=True)
class Probes:
  """Linear probes of frozen encoders.

  Attributes:
    encode: 'module:function', called as encode(model, batch) -> [B, T, D].
    probe: How features and scores are made, and the controls.
  """

  encode: str
  probe: ProbeConfig = dataclasses.field(default_factory=ProbeConfig)

  check, of_kmers, of_rule = _check, _of_kmers, _of_rule

  @functools.cached_property
  def _features(self) -> probes.Features:
    # One for all cells: models of one architecture share a compilation.
    return probes.Features(_load(self.encode), self.probe)

  def of_model(self, task: Task, model: nnx.Module, *, seed: int) -> Cell:
    """The test score of a linear model on the encoder's features."""
    del seed  # Nothing is drawn.
    rows = examples.of_task(task, self.probe.units)
    features = self._features(model, task)
    score = probes.evaluate(rows, features, self.probe.bootstrap)
    return dataclasses.asdict(score)


@dataclasses.dataclass(frozen=True)
class FineTunes:
  """Encoders that are trained on the task, or adapters of them.

  Attributes:
    encode: 'module:function', called as encode(model, batch) -> [B, T, D].
    finetune: What is trained, and how; its seed is that of the cell.
    probe: Of the controls. Where units are labelled these are fitted on
      `probe.units` of them, and the encoder on all.
  """

  encode: str
  finetune: FineTuneConfig = dataclasses.field(default_factory=FineTuneConfig)
  probe: ProbeConfig = dataclasses.field(default_factory=ProbeConfig)

  check, of_kmers, of_rule = _check, _of_kmers, _of_rule

  def of_model(self, task: Task, model: nnx.Module, *, seed: int) -> Cell:
    """The test score of the epoch that is best on validation, and which."""
    config = dataclasses.replace(self.finetune, seed=seed)
    score, tuned = evaluate(task, _load(self.encode), model, config)
    return {
      **dataclasses.asdict(score),
      'epoch': tuned.best.epoch,
      'learning_rate': tuned.best.learning_rate,
      'validation': tuned.best.value,
    }


def _load(name: str) -> Any:
  module, _, attribute = name.partition(':')
  return getattr(importlib.import_module(module), attribute)
