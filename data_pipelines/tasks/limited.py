"""A part of any task, for runs that cannot take all of it."""

import dataclasses
from collections.abc import Callable

from data_pipelines.tasks.choose import Limits
from data_pipelines.tasks.task import Task


@dataclasses.dataclass(frozen=True)
class Limited:
  """A task with at most so many examples of each split, drawn at random.

  Attributes:
    task: The whole one, or what makes it.
    limits: How many examples are taken.
  """

  task: Task | Callable[[], Task]
  limits: Limits

  def __call__(self) -> Task:
    task = self.task if isinstance(self.task, Task) else self.task()
    kept = self.limits.kept(task.split)
    chosen = {'labels': task.labels[kept], 'split': task.split[kept]}
    for name in ('sequences', 'partners'):
      if (values := getattr(task, name)) is not None:
        chosen[name] = [values[i] for i in kept]
    if task.groups is not None:
      chosen['groups'] = task.groups[kept]
    notes = (*task.notes, *self.limits.notes(task.split))
    return dataclasses.replace(task, **chosen, notes=notes)
