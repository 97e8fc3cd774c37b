"""The results table of a finished run: linear probes on its encoder."""

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

from backbone.downstream.probe import ProbeConfig, run
from backbone.downstream.table import Row
from data_pipelines.tasks import Task


@dataclasses.dataclass(frozen=True)
class ProbeTable:
  """Probes of the trained model, of random weights, and of k-mer counts.

  Attributes:
    encode: 'module:function', called as encode(model, batch) -> [B, T, D]; a
      string, so that one paper's encoder needs no import here.
    tasks: Makes the labelled tasks.
    table: Name of the table in the results.
    probe: How features and scores are made.
  """

  encode: str
  tasks: Callable[[], list[Task]]
  table: str = 'probes'
  probe: ProbeConfig = dataclasses.field(default_factory=ProbeConfig)

  def rows(self, context: Any) -> list[Row]:
    """One row per task and column."""
    module, _, function = self.encode.partition(':')
    encode = getattr(importlib.import_module(module), function)
    return run(
      self.tasks(),
      encode,
      context.model,
      context.random_model,
      context.seed,
      self.table,
      self.probe,
    )
