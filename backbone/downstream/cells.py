"""Cells of a paper's table: one task under one model, with its interval."""

import dataclasses
import functools
import importlib
from typing import Any

import numpy as np
from flax import nnx

from backbone.downstream import examples, kmer, metrics
from backbone.downstream import probe as probes
from backbone.downstream.probe import ProbeConfig
from data_pipelines.tasks import Task

Cell = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Probes:
  """Linear probes of frozen encoders, and what stands beside them.

  Attributes:
    encode: 'module:function', called as encode(model, batch) -> [B, T, D].
    probe: How features and scores are made.
  """

  encode: str
  probe: ProbeConfig = dataclasses.field(default_factory=ProbeConfig)

  @functools.cached_property
  def _features(self) -> probes.Features:
    # One for all cells: models of one architecture share a compilation.
    return probes.Features(_load(self.encode), self.probe)

  def of_model(self, task: Task, model: nnx.Module) -> Cell:
    """The test score of a linear model on the encoder's features."""
    rows = examples.of_task(task, self.probe.units)
    score = probes.evaluate(rows, self._features(model, task), self._bootstrap)
    return dataclasses.asdict(score)

  def of_kmers(self, task: Task) -> Cell:
    """The test score of the counts that are best on validation."""
    score, chosen = kmer.evaluate(
      task, self._bootstrap, self.probe.baseline, self.probe.units
    )
    return {**dataclasses.asdict(score), 'features': chosen}

  def of_rule(self, task: Task, rule: str) -> Cell:
    """The test score of 'module:function' of a task, which learns nothing."""
    is_test = task.split == 'test'
    groups = None if task.groups is None else task.groups[is_test]
    predicted = np.asarray(_load(rule)(task))[is_test]
    score = metrics.score(
      task.metric,
      task.labels[is_test],
      predicted,
      self._bootstrap,
      groups=groups,
    )
    return dataclasses.asdict(score)

  @property
  def _bootstrap(self) -> metrics.Bootstrap:
    return self.probe.bootstrap


def _load(name: str) -> Any:
  module, _, attribute = name.partition(':')
  return getattr(importlib.import_module(module), attribute)
