"""The one training loop.

Each turn, in this order: evaluate, checkpoint, next batch, step, log. So the
data iterator a checkpoint holds stands before the batch of the next step, and a
resumed run repeats exactly what an uninterrupted one does.
"""

import contextlib
import dataclasses
import pathlib
import sys
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import jax
from etils import epath
from flax import nnx
from jax.sharding import Mesh

from backbone.array_types import PyTree
from backbone.sharding import DEFAULT_RULES, AxisRules
from backbone.train import metrics as metrics_lib
from backbone.train import processes, signals
from backbone.train.checkpoint import Checkpoints
from backbone.train.evaluate import evaluate_sources
from backbone.train.objective import Objective
from backbone.train.optim import Optimizer
from backbone.train.profile import Profile
from backbone.train.programs import make_programs
from backbone.train.provenance import Identity, hash_text
from backbone.train.state import (
  TrainingError,
  TrainState,
  to_device,
)
from backbone.train.utilisation import Utilisation

# Of waiting for a batch that are told.
_SLOW_SECONDS = 10


class Diverged(TrainingError):
  """A loss or a gradient was not finite; the last checkpoint is good."""


class Interrupted(Exception):
  """A signal asked the run to stop; its checkpoint is written."""

  def __init__(self, step: int):
    super().__init__(f'stopped by a signal after step {step}')
    self.step = step


@runtime_checkable
class Data(Protocol):
  """What the loop needs of a data source."""

  def train(self, *, process_id: int, num_processes: int) -> Iterator:
    """Batches for ever, with `get_state` and `set_state`."""

  def evaluation(
    self, split: str, *, max_rows: int, process_id: int, num_processes: int
  ) -> Any:
    """Pairs of a label and batches of a held-out split, the same each time."""

  def manifest_hash(self) -> str:
    """Hash of what the data is."""


@dataclasses.dataclass(frozen=True)
class Run:
  """How long to train, and how often to look.

  Attributes:
    steps: Updates in all.
    log_every: Steps between lines of training metrics.
    evaluate_every: Steps between evaluations; also before the first step and
      after the last.
    evaluate_rows: Rows of each source of the validation split per evaluation.
    checkpoint_every: Steps between checkpoints; also after the last step.
    keep: Newest checkpoints kept.
    bases_per_token: Bases that the model reads as one unit, for tokens/s.
    micro_batches: Parts of a batch whose gradients are made one after another,
      in less memory.
    profile_at: A step from which on the run is traced, below workdir/profile;
      0 is none.
    profile_steps: How many.
  """

  steps: int
  log_every: int = 10
  evaluate_every: int = 500
  evaluate_rows: int = 256
  checkpoint_every: int = 500
  keep: int = 3
  bases_per_token: int = 3
  micro_batches: int = 1
  profile_at: int = 0
  profile_steps: int = 5

  def __post_init__(self):
    for field in dataclasses.fields(self):
      least = int(field.name != 'profile_at')
      if getattr(self, field.name) < least:
        raise ValueError(f'{field.name} must be at least {least}')


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Trained:
  """The end of a run: the model before the first step and after the last."""

  step: int = dataclasses.field(metadata={'static': True})
  graphdef: nnx.GraphDef = dataclasses.field(metadata={'static': True})
  params: PyTree
  aux: PyTree
  initial_params: PyTree
  initial_aux: PyTree


def fit(
  objective: Objective,
  data: Data,
  run: Run,
  *,
  optimizer: Optimizer,
  workdir: pathlib.Path,
  checkpoint_dir: epath.PathLike | None = None,
  mesh: Mesh,
  rules: AxisRules = DEFAULT_RULES,
  seed: int = 0,
  config: dict[str, Any] | None = None,
  is_progress_shown: bool = True,
) -> Trained:
  """Trains to `run.steps`, from the newest checkpoint if there is any.

  Checkpoints are in `checkpoint_dir`, which may be in a bucket (gs://), or in
  `workdir`/checkpoints.

  Raises:
    Diverged: A loss or gradient norm was not finite.
    Interrupted: SIGTERM or SIGINT came; the checkpoint is written.
    CheckpointError: A checkpoint cannot be written, or is another run's.
  """
  workdir.mkdir(parents=True, exist_ok=True)
  schedule = optimizer.schedule(run.steps)

  with jax.set_mesh(mesh), contextlib.ExitStack() as stack:
    processes.check_alike(data.manifest_hash(), 'data set')
    processes.check_alike(hash_text(config), 'configuration')
    processes.check_alike(hash_text(str(checkpoint_dir)), '--checkpoints')
    programs = make_programs(
      objective,
      optimizer.transform(run.steps),
      micro_batches=run.micro_batches,
      mesh=mesh,
      rules=rules,
      seed=seed,
    )
    checkpoints = Checkpoints(
      checkpoint_dir or workdir / 'checkpoints',
      Identity(
        vocabulary=hash_text(getattr(objective, 'vocabulary', '')),
        data_manifest=data.manifest_hash(),
        seed=seed,
      ),
      config=config or {},
      keep=run.keep,
    )
    stack.callback(checkpoints.close)

    reader, readers = processes.reader(mesh)
    process = {'process_id': reader, 'num_processes': readers}
    batches = data.train(**process)
    restored = checkpoints.restore(programs.abstract)
    if restored:
      start, state = restored.step, restored.state
      batches.set_state(restored.data)
    else:
      start, state = 0, programs.create()
    if start > run.steps:
      raise TrainingError(
        f'{workdir}: its checkpoints are at step {start}, beyond '
        f'config.train.steps={run.steps}'
      )

    is_chief = processes.is_chief()
    writer = stack.enter_context(
      contextlib.closing(
        metrics_lib.MetricsWriter(
          workdir,
          start=start,
          is_resumed=restored is not None,
          is_active=is_chief,
        )
      )
    )
    progress = stack.enter_context(
      metrics_lib.progress_bar(
        start=start,
        steps=run.steps,
        is_shown=is_chief and is_progress_shown,
      )
    )
    if restored and not progress.disable:
      progress.write(f'goes on from step {start}', file=sys.stderr)
    stop = stack.enter_context(signals.stop_on_signal())
    throughput = metrics_lib.Throughput(run.bases_per_token, readers, mesh.size)
    utilisation = Utilisation(objective, programs.graphdef, mesh)
    last = min(run.profile_at + run.profile_steps, run.steps)
    profile = Profile(workdir / 'profile', range(run.profile_at, last))
    stack.callback(profile.close)

    for step in range(start, run.steps + 1):
      is_last = step == run.steps
      is_new = step > start or not restored
      is_stopped = signals.is_stopped(stop, step)

      with throughput.paused():
        if is_new and (is_last or step % run.evaluate_every == 0):
          held_out = data.evaluation(
            'validation', max_rows=run.evaluate_rows, **process
          )
          means = evaluate_sources(
            programs.evaluate, state.params, state.aux, held_out
          )
          writer.write(step, 'validation', metrics_lib.values(means))

        is_due = is_last or is_stopped or step % run.checkpoint_every == 0
        if step > start and is_due:
          _check_finite(state, checkpoints)
          checkpoints.save(state, step, batches.get_state())
      if is_last or (is_stopped and step > start):
        break

      with throughput.paused():
        profile.before(step, state)
      with throughput.loading() as waited:
        local_batch = next(batches)
      if waited.seconds > _SLOW_SECONDS and not progress.disable:
        text = f'step {step}: waited {waited.seconds:.0f} s for its batch'
        progress.write(text, file=sys.stderr)
      throughput.count(local_batch)

      batch = to_device(local_batch, mesh, rules)
      state, means = programs.step(state, batch)
      with throughput.paused():
        profile.after(step, state)

      if (step + 1) % run.log_every == 0 or step + 1 == run.steps:
        values = metrics_lib.values(means)
        _check_finite(state, checkpoints)
        values['learning_rate'] = float(schedule(step))
        values |= throughput.read()
        with throughput.paused():
          values |= utilisation.of(state, batch, values['step_seconds'])
        writer.write(step + 1, 'train', values)
        progress.set_postfix(
          loss=f'{values["loss"]:.4f}',
          tokens_per_s=f'{values["tokens_per_second"]:,.0f}',
          refresh=False,
        )
      progress.update()

    checkpoints.wait()
    if step < run.steps:
      raise Interrupted(step)
    initial = programs.create()
    return Trained(
      step=step,
      graphdef=programs.graphdef,
      params=state.params,
      aux=state.aux,
      initial_params=initial.params,
      initial_aux=initial.aux,
    )


def _check_finite(state: TrainState, checkpoints: Checkpoints) -> None:
  failed_at = int(state.failed_at)
  if failed_at < 0:
    return
  checkpoints.wait()
  last = checkpoints.latest_step()
  kept = (
    'no checkpoint was written yet'
    if last is None
    else (f'the last good checkpoint is that of step {last}')
  )
  raise Diverged(
    f'step {failed_at}: the loss or its gradient is not finite; the update was '
    f'not applied and {kept}; try a lower config.optimizer.learning_rate'
  )
