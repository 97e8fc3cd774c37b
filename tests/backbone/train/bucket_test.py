"""Checkpoints in a bucket: an emulator of Cloud Storage on this machine."""

import contextlib
import http
import re
import socket

import fsspec
import gcsfs.retry
import jax
import ml_collections
import orbax.checkpoint as ocp
import pytest
from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.handlers import objects
from gcp_storage_emulator.server import create_server

from backbone import sharding
from backbone.train import loop
from backbone.train.checkpoint import CheckpointError
from backbone.train.optim import AdamW
from backbone.train.state import parameters_sha256
from experiments import command_line, common
from tests.backbone.train import toy

RUN = loop.Run(
  steps=8,
  log_every=1,
  evaluate_every=8,
  evaluate_rows=8,
  checkpoint_every=2,
  keep=2,
)


def with_generation(download):
  """Cloud Storage names an object's generation when it is read; this does not.

  Without it TensorStore cannot write again what it has read.
  """

  def wrapped(request, response, storage, *args, **kwargs):
    names = request.params['bucket_name'], request.params['object_id']
    with contextlib.suppress(NotFound):
      found = storage.get_file_obj(*names)
      response['x-goog-generation'] = found['generation']
    return download(request, response, storage, *args, **kwargs)

  return wrapped


@pytest.fixture(scope='module')
def bucket():
  """Its address; all clients are told of the server by the environment."""
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    port = free.getsockname()[1]
  server = create_server(
    'localhost', port, in_memory=True, default_bucket='runs'
  )
  server.start()
  with pytest.MonkeyPatch.context() as patch:
    for name in ('STORAGE_EMULATOR_HOST', 'TENSORSTORE_GCS_HTTP_URL'):
      patch.setenv(name, f'http://localhost:{port}')
    # It knows no moves, which become copies once nobody asks again.
    patch.setattr(gcsfs.retry, 'is_retriable', lambda _: False)
    patch.setattr(objects, 'download', with_generation(objects.download))
    yield 'gs://runs'
  server.stop()


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """Parameters of a run that nothing disturbed, on disk."""
  trained = fit(tmp_path_factory.mktemp('whole'), None)
  return parameters_sha256(trained.params)


def fit(workdir, checkpoint_dir, objective=None):
  return loop.fit(
    objective or toy.Toy(),
    toy.ToyData(),
    RUN,
    optimizer=AdamW(warmup_steps=1),
    workdir=workdir,
    checkpoint_dir=checkpoint_dir,
    mesh=sharding.make_mesh(devices=jax.devices()[:1]),
    is_progress_shown=False,
  )


def files_in(directory):
  found = fsspec.filesystem('gs').find(directory)
  return [name.removeprefix(directory.removeprefix('gs://')) for name in found]


def steps_in(directory):
  return {re.match('/([^/]+)/', name).group(1) for name in files_in(directory)}


def test_a_run_goes_on_from_a_bucket(bucket, tmp_path, whole):
  where = f'{bucket}/cut'
  with pytest.raises(loop.Diverged, match=r'last good .* step 4'):
    fit(tmp_path, where, toy.Toy(poison_at=5))
  assert steps_in(where) == {'2', '4'}
  # What a killed process leaves of a checkpoint.
  fsspec.filesystem('gs').pipe(f'{where}/6/state/d/part', b'half')
  # On a machine that has nothing of the run.
  trained = fit(tmp_path / 'new', where)
  assert parameters_sha256(trained.params) == whole
  assert steps_in(where) == {'6', '8'}
  assert '/6/state/d/part' not in files_in(where)
  assert not list(tmp_path.rglob('checkpoints'))


def test_a_damaged_checkpoint_in_a_bucket_is_set_aside(bucket, tmp_path, whole):
  where, files = f'{bucket}/damaged', fsspec.filesystem('gs')
  fit(tmp_path, where)
  for name in files_in(f'{where}/8/state/d'):
    path = f'{where}/8/state/d{name}'
    files.pipe(path, bytes(byte ^ 1 for byte in files.cat(path)))
  files.invalidate_cache()
  trained = fit(tmp_path, where)
  assert parameters_sha256(trained.params) == whole
  assert steps_in(where) == {'6', '8', 'unreadable-8'}


def test_a_bucket_that_is_away_is_no_damage(bucket, tmp_path, monkeypatch):
  where, restore = f'{bucket}/away', ocp.CheckpointManager.restore
  fit(tmp_path, where)
  before = files_in(where)

  def fail(self, step, args):
    if 'state' in args:
      raise ValueError('UNAVAILABLE: CURL error: Could not resolve host')
    return restore(self, step, args=args)

  monkeypatch.setattr(ocp.CheckpointManager, 'restore', fail)
  message = r'away/8: cannot be read now: .*CURL.*repeat the same command'
  with pytest.raises(CheckpointError, match=message):
    fit(tmp_path, where)
  assert files_in(where) == before


def test_a_folder_of_others_is_refused_and_left_alone(bucket, tmp_path):
  where, files = f'{bucket}/shared', fsspec.filesystem('gs')
  files.pipe(f'{where}/other/8/state/d/a', b'theirs')
  with pytest.raises(CheckpointError, match=r'other things .*\(other\)'):
    fit(tmp_path, where)
  assert files_in(where) == ['/other/8/state/d/a']


def test_a_bucket_that_is_not_there_is_one_line(bucket, tmp_path, capfd):
  message = r'^gs://absent/run: cannot write checkpoints: '
  with pytest.raises(CheckpointError, match=message) as caught:
    fit(tmp_path, 'gs://absent/run')
  assert '\n' not in str(caught.value)
  assert 'Traceback' not in capfd.readouterr().err


def test_a_bucket_that_arrays_cannot_reach_is_refused_before_the_first_step(
  bucket, tmp_path, monkeypatch
):
  def forbid(request, response, storage):
    response.status = http.HTTPStatus.FORBIDDEN

  # So does TensorStore write, and gcsfs does not.
  monkeypatch.setattr(objects, '_media_upload', forbid)
  where = f'{bucket}/forbidden'
  with pytest.raises(CheckpointError, match=r'cannot write checkpoints: .*403'):
    fit(tmp_path, where)
  assert not (tmp_path / 'metrics.jsonl').exists()
  assert not files_in(where)


@pytest.mark.parametrize('where', ['gs://runs', 'gs:/runs/a', 's3://runs/a'])
def test_what_is_no_address_is_refused(where):
  flags = f'--config={__file__}', '--workdir=w', f'--checkpoints={where}'
  with pytest.raises(common.ConfigError, match='gs://BUCKET/FOLDER'):
    command_line.read_flags(['run', *flags])


def get_config():
  return ml_collections.ConfigDict()
