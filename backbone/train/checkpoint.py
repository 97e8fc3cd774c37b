"""Checkpoints: asynchronous, checked on loading, restorable onto any mesh."""

import dataclasses
import errno
import shutil
import time
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging
from etils import epath

from backbone.train import bucket, processes, provenance, quiet
from backbone.train.state import TrainState

# Room for the iterator's position, the metadata and the file system's blocks.
_METADATA_BYTES = 1 << 20
# How often, and how long apart, what is left of a failed write is removed.
_CLEARING_ROUNDS, _CLEARING_SECONDS = 50, 0.1


class CheckpointError(ValueError):
  """A checkpoint cannot be written or used; one line says why and what to do.

  Entry points print the message alone and exit with status 2.
  """


@dataclasses.dataclass(frozen=True)
class Restored:
  """A checkpoint as read."""

  step: int
  state: TrainState
  data: dict[str, Any]
  metadata: dict[str, Any]


class Checkpoints:
  """The checkpoints of one run, in one directory or bucket.

  A checkpoint holds the state, the position of the data iterator, and metadata:
  the run's configuration, its `Identity`, the code version, and a checksum of
  the state, because the array format does not notice a flipped byte.
  """

  def __init__(
    self,
    directory: epath.PathLike,
    identity: provenance.Identity,
    *,
    config: dict[str, Any],
    keep: int = 3,
  ):
    self._directory = bucket.absolute(directory)
    self._identity = dataclasses.asdict(identity)
    self._config = config
    self._checksum = jax.jit(provenance.checksum)
    self._pending: int | None = None
    self._is_remote = bucket.is_address(directory)
    quiet.say_once()
    self._manager = self._open(keep)

  def _open(self, keep: int) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(
      max_to_keep=keep,
      cleanup_tmp_directories=True,
      enable_async_checkpointing=True,
    )
    probe, refused = None, None
    try:
      if self._is_remote:
        probe = bucket.Probe(self._directory)
      else:
        self._directory.mkdir(parents=True, exist_ok=True)
    except Exception as error:
      refused = error
    try:
      self._agree(refused)
    finally:
      # What could be written is not in the way, whoever could not.
      if probe:
        probe.remove()
    try:
      manager = ocp.CheckpointManager(
        self._directory,
        options=options,
        item_names=('state', 'data', 'metadata'),
      )
    except Exception as error:
      raise self._failure(None, error) from error
    return manager

  def _agree(self, failed: Exception | None) -> None:
    """Raises in every process what failed in any."""
    if processes.any_of(failed is not None):
      error = failed or OSError('another process cannot')
      raise self._write_error(None, error) from failed

  def save(self, state: TrainState, step: int, data: dict[str, Any]) -> None:
    """Starts writing; returns once the arrays are off the device.

    Raises:
      CheckpointError: This or the previous checkpoint could not be written.
    """
    self.wait()
    self._check_space(state, step)
    metadata = {
      'step': step,
      'identity': self._identity,
      'config': self._config,
      'code_version': provenance.code_version(),
      'arrays': provenance.describe(state),
      'checksum': [int(c) for c in self._checksum(state)],
    }
    self._pending = step
    try:
      self._manager.save(
        step,
        args=ocp.args.Composite(
          state=ocp.args.StandardSave(state),
          data=ocp.args.JsonSave(data),
          metadata=ocp.args.JsonSave(metadata),
        ),
      )
    except Exception as error:
      raise self._failure(self._pending, error) from error

  def _check_space(self, state: TrainState, step: int) -> None:
    """Ahead of writing, since orbax's threads meet a full disk noisily.

    Compression may make the checkpoint a little smaller than is asked for.
    """
    if self._is_remote:
      return
    needed = _METADATA_BYTES + sum(
      shard.data.nbytes
      for array in jax.tree.leaves(state)
      for shard in array.addressable_shards
      if shard.replica_id == 0
    )
    free = shutil.disk_usage(self._directory).free
    if processes.any_of(free < needed):
      sizes = f'{needed / 1e6:,.2f} MB needed, {free / 1e6:,.2f} MB free'
      raise self._cannot_write(
        f'checkpoint {step}', f'the disk is full ({sizes})'
      )

  def wait(self) -> None:
    """Blocks until the last checkpoint is complete on disk.

    Raises:
      CheckpointError: It could not be written; nothing of it is left, of one
        in a bucket nothing that a run would read.
    """
    try:
      self._manager.wait_until_finished()
      self._manager.check_for_errors()
    except Exception as error:
      raise self._failure(self._pending, error) from error
    self._pending = None

  def close(self) -> None:
    """Lets go of threads; `wait` first."""
    self._manager.close()

  def latest_step(self) -> int | None:
    """Step of the newest complete checkpoint."""
    return self._manager.latest_step()

  def restore(self, abstract: TrainState) -> Restored | None:
    """The newest readable checkpoint, or None where there is none at all.

    An unreadable one is reported once, set aside as `unreadable-STEP`, and the
    one before it is used. That a bucket does not answer is no damage.

    Args:
      abstract: Shapes and shardings wanted; the mesh may differ from the one
        that the checkpoint was written on.

    Raises:
      CheckpointError: It belongs to another run, none is readable, or its
        bucket does not answer.
    """
    steps = sorted(self._manager.all_steps(), reverse=True)
    for i, step in enumerate(steps):
      restored, reason = self._try_to_read(step, abstract)
      if restored:
        self._set_aside(steps[:i])
        return restored
      logging.warning(
        'checkpoint %d in %s is unreadable and skipped (%s)',
        step,
        self._directory,
        reason,
      )
    if steps:
      raise CheckpointError(
        f'{self._directory}: no checkpoint is readable (steps {steps[::-1]}; '
        f'{reason}); delete the directory to start from the beginning'
      )
    return None

  def _try_to_read(
    self, step: int, abstract: TrainState
  ) -> tuple[Restored | None, str]:
    """The checkpoint, or why none of the processes is to use it."""
    restored, failed = None, None
    try:
      restored = self._read(step, abstract)
    except CheckpointError:
      raise
    except Exception as error:
      failed = error
    is_away = self._is_remote and failed and not bucket.is_damage(failed)
    if processes.any_of(bool(is_away)):
      reason = _first_line(failed) if failed else 'another process cannot'
      raise CheckpointError(
        f'{self._directory / str(step)}: cannot be read now: {reason}; repeat '
        'the same command, or remove this checkpoint if it is to blame'
      ) from failed
    if processes.any_of(failed is not None):
      return None, _first_line(failed) if failed else 'another process cannot'
    # Of all processes together.
    found = [int(c) for c in self._checksum(restored.state)]
    if found != restored.metadata['checksum']:
      return None, 'OSError: its checksum is wrong'
    return restored, ''

  def _read(self, step: int, abstract: TrainState) -> Restored:
    args = ocp.args.Composite(
      data=ocp.args.JsonRestore(), metadata=ocp.args.JsonRestore()
    )
    read = self._manager.restore(step, args=args)
    self._check(step, read.metadata, abstract)
    args = ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
    state = self._manager.restore(step, args=args).state
    return Restored(step, state, read.data, read.metadata)

  def _check(self, step: int, metadata: dict[str, Any], abstract) -> None:
    where = f'{self._directory / str(step)}'
    for name, ours in self._identity.items():
      theirs = metadata['identity'][name]
      if theirs != ours:
        raise CheckpointError(
          f'{where}: written with {name} {theirs}, this run has {name} {ours}; '
          'use another --workdir or --checkpoints, or the configuration it was '
          'written with'
        )
    theirs, ours = metadata['arrays'], provenance.describe(abstract)
    for name in sorted(theirs.keys() | ours.keys()):
      if theirs.get(name) != ours.get(name):
        raise CheckpointError(
          f'{where}: {name} is {theirs.get(name, "absent")} there and '
          f'{ours.get(name, "absent")} in this model; use another --workdir '
          'or --checkpoints, or the configuration it was written with'
        )

  def _set_aside(self, steps: list[int]) -> None:
    if not steps:
      return
    failed = None
    try:
      for step in steps if processes.is_chief() else ():
        target = self._directory / f'unreadable-{step}'
        target.rmtree(missing_ok=True)
        (self._directory / str(step)).rename(target)
    except Exception as error:
      failed = error
    self._agree(failed)
    self._manager.reload()

  def _failure(self, step: int | None, error: Exception) -> Exception:
    """What to raise of an error of orbax."""
    # A bucket that is away says the same as a process that is.
    is_jax = isinstance(error, jax.errors.JaxRuntimeError)
    if processes.is_lost(error) and (is_jax or not self._is_remote):
      return error
    self._pending = None
    # What is left in a bucket is removed by orbax at the next start.
    if not self._is_remote:
      self._clear(step)
    return self._write_error(step, error)

  def _clear(self, step: int | None) -> None:
    """When the first of orbax's writers fails, others may still be writing."""

    def left() -> list[epath.Path]:
      names = self._directory.iterdir() if self._directory.exists() else ()
      return [path for path in names if path.name.startswith(f'{step}.')]

    for _ in range(_CLEARING_ROUNDS):
      for path in left():
        shutil.rmtree(path, ignore_errors=True)
      time.sleep(_CLEARING_SECONDS)
      if not left():
        break

  def _write_error(self, step, error: Exception) -> CheckpointError:
    what = 'checkpoints' if step is None else f'checkpoint {step}'
    full = getattr(error, 'errno', None) == errno.ENOSPC or any(
      text in str(error) for text in ('No space left', 'File too large')
    )
    reason = 'the disk is full' if full else _first_line(error)
    return self._cannot_write(what, reason)

  def _cannot_write(self, what: str, reason: str) -> CheckpointError:
    return CheckpointError(
      f'{self._directory}: cannot write {what}: {reason}; earlier checkpoints '
      'are kept, mend this and repeat the same command'
    )


def read_metadata(directory: epath.PathLike, step: int) -> dict[str, Any]:
  """Metadata of one checkpoint: configuration, identity, code version."""
  with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
    path = bucket.absolute(directory) / str(step) / 'metadata'
    return reader.restore(path)


def _first_line(error: Exception) -> str:
  lines = str(error).strip().splitlines()
  return f'{type(error).__name__}: {lines[0][:200] if lines else ""}'
