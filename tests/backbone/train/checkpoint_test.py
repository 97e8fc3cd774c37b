"""Checkpoints: damage is noticed, a full disk is said so, old ones stay."""

import dataclasses
import errno
import os
import pathlib
import subprocess
import tempfile
import unittest.mock

import jax
import numpy as np
import pytest

from backbone import sharding
from backbone.train import checkpoint, provenance
from backbone.train.optim import AdamW
from backbone.train.state import abstract_state, make_create
from tests.backbone.train import toy

IDENTITY = provenance.Identity(vocabulary='v', data_manifest='d', seed=0)


@pytest.fixture(scope='module')
def made():
  """A state and its shapes."""
  objective = toy.Toy()
  transform = AdamW(warmup_steps=1).transform(10)
  mesh = sharding.make_mesh(devices=jax.devices()[:1])
  _, abstract = abstract_state(objective, transform, mesh=mesh)
  return make_create(objective, transform, abstract)(
    jax.random.key(0)
  ), abstract


def opened(directory):
  return checkpoint.Checkpoints(directory, IDENTITY, config={'a': 1}, keep=2)


def written(directory, state, steps=(1, 2)):
  """Checkpoints of the steps, each with `step` set to it."""
  checkpoints = opened(directory)
  for step in steps:
    marked = dataclasses.replace(state, step=np.int32(step) + 0 * state.step)
    checkpoints.save(marked, step, {'position': step})
  checkpoints.wait()
  checkpoints.close()


def largest_file(directory):
  files = [p for p in directory.rglob('*') if p.is_file()]
  return max(files, key=lambda p: p.stat().st_size)


def flip(directory):
  """One bit in the middle of the arrays."""
  path = largest_file(directory / 'state')
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)


def truncate(directory):
  path = largest_file(directory / 'state')
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def lose_metadata(directory):
  (directory / 'metadata' / 'metadata').unlink()


def test_what_was_saved_comes_back(tmp_path, made):
  state, abstract = made
  written(tmp_path, state)
  restored = opened(tmp_path).restore(abstract)
  assert restored.step == 2
  assert restored.data == {'position': 2}
  assert restored.metadata['config'] == {'a': 1}
  assert restored.metadata['code_version']
  assert checkpoint.read_metadata(tmp_path, 2) == restored.metadata
  jax.tree.map(
    np.testing.assert_array_equal, restored.state.params, state.params
  )


def test_only_the_newest_are_kept(tmp_path, made):
  written(tmp_path, made[0], steps=(1, 2, 3))
  assert sorted(p.name for p in tmp_path.iterdir()) == ['2', '3']


@pytest.mark.parametrize('damage', [flip, truncate, lose_metadata])
def test_a_damaged_checkpoint_is_skipped(tmp_path, made, damage, caplog):
  state, abstract = made
  written(tmp_path, state)
  damage(tmp_path / '2')
  with caplog.at_level('WARNING'):
    restored = opened(tmp_path).restore(abstract)
  assert restored.step == int(restored.state.step) == 1
  told = [r for r in caplog.records if 'checkpoint 2' in r.getMessage()]
  assert len(told) == 1 and '\n' not in told[0].getMessage()
  assert (tmp_path / 'unreadable-2').is_dir()
  # The step can be written again.
  written(tmp_path, state, steps=(2,))
  assert opened(tmp_path).restore(abstract).step == 2


def test_a_half_written_checkpoint_does_not_count(tmp_path, made):
  state, abstract = made
  written(tmp_path, state, steps=(1,))
  half = tmp_path / '2.orbax-checkpoint-tmp-123'
  (half / 'state').mkdir(parents=True)
  assert opened(tmp_path).restore(abstract).step == 1


def test_nothing_readable_is_an_error_and_nothing_is_moved(tmp_path, made):
  state, abstract = made
  written(tmp_path, state)
  flip(tmp_path / '1')
  flip(tmp_path / '2')
  with pytest.raises(checkpoint.CheckpointError, match='no checkpoint is'):
    opened(tmp_path).restore(abstract)
  assert sorted(p.name for p in tmp_path.iterdir()) == ['1', '2']


def test_an_empty_directory_restores_nothing(tmp_path, made):
  assert opened(tmp_path).restore(made[1]) is None


@pytest.fixture
def small_disk():
  """A directory on a disk of 4 MiB."""
  directory = pathlib.Path(tempfile.mkdtemp())
  command = ('mount', '-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', str(directory))
  if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
    directory.rmdir()
    yield None
    return
  yield directory
  subprocess.run(['umount', '-l', str(directory)], check=True)
  directory.rmdir()


def _fill(directory):
  """Leaves 8 KiB."""
  free = os.statvfs(directory)
  filler = max(free.f_bavail * free.f_frsize - 8192, 0)
  (directory / 'filler').write_bytes(os.urandom(filler))


def test_a_full_disk_is_said_before_anything_is_written(
  small_disk, tmp_path, made, monkeypatch, capfd
):
  state, abstract = made
  directory = small_disk or tmp_path
  written(directory, state, steps=(1,))
  if small_disk:
    _fill(directory)
  else:
    monkeypatch.setattr(checkpoint.shutil, 'disk_usage', lambda _: _Usage(8192))
  _assert_not_written(directory, state, match='disk is full .* MB needed')
  assert 'Traceback' not in capfd.readouterr().err
  monkeypatch.undo()
  (directory / 'filler').unlink(missing_ok=True)
  assert opened(directory).restore(abstract).step == 1


def test_a_disk_that_fills_while_writing_is_said(
  small_disk, tmp_path, made, monkeypatch
):
  """The room was there when asked for."""
  state, abstract = made
  directory = small_disk or tmp_path
  written(directory, state, steps=(1,))
  if small_disk:
    _fill(directory)
    plenty = _Usage(1 << 40)
    monkeypatch.setattr(checkpoint.shutil, 'disk_usage', lambda _: plenty)
  else:
    full = OSError(errno.ENOSPC, 'No space left on device')
    monkeypatch.setattr(
      checkpoint.ocp.CheckpointManager,
      'check_for_errors',
      unittest.mock.Mock(side_effect=full),
    )
  _assert_not_written(directory, state, match='disk is full;')
  monkeypatch.undo()
  (directory / 'filler').unlink(missing_ok=True)
  assert opened(directory).restore(abstract).step == 1


def _assert_not_written(directory, state, match):
  checkpoints = opened(directory)
  with pytest.raises(checkpoint.CheckpointError, match=match) as caught:
    checkpoints.save(state, 2, {'position': 2})
    checkpoints.wait()
  assert '\n' not in str(caught.value)
  assert {p.name for p in directory.iterdir()} - {'filler'} == {'1'}


@dataclasses.dataclass
class _Usage:
  free: int
