"""Windows with tracks: files, splits, strands."""

import json
import struct
import zlib

import numpy as np
import pytest
from tensorflow_datasets.proto import tf_example_pb2

from data_pipelines.errors import InputError
from data_pipelines.tracks.borzoi import TrackWindows
from tests.real_data import data_path

LENGTH, BINS, TRACKS = 96, 4, 3
TARGETS = (
  'identifier\tstrand_pair\tdescription\n'
  'a+\t1\tCAGE:one\nb-\t0\tCAGE:one\nc\t2\tDNASE:two\n'
)


def _record(sequence, target):
  example = tf_example_pb2.Example()
  feature = example.features.feature
  feature['sequence'].bytes_list.value.append(sequence.tobytes())
  feature['target'].bytes_list.value.append(target.tobytes())
  content = example.SerializeToString()
  return struct.pack('<Q', len(content)) + b'0000' + content + b'0000'


def _write(folder, number=5, length=LENGTH):
  (folder / 'tfrecords').mkdir(parents=True)
  (folder / 'targets.txt').write_text(TARGETS)
  (folder / 'statistics.json').write_text(
    json.dumps(
      {
        'num_targets': TRACKS,
        'seq_length': LENGTH,
        'pool_width': 8,
        'target_length': BINS,
      }
    )
  )
  rng = np.random.default_rng(0)
  for split in ('train', 'valid'):
    for file in range(2):
      records = [
        _record(
          rng.integers(0, 5, length).astype(np.uint8),
          rng.random((BINS, TRACKS)).astype(np.float16),
        )
        for _ in range(number)
      ]
      path = folder / 'tfrecords' / f'{split}-{file}.tfr'
      path.write_bytes(zlib.compress(b''.join(records)))
  return folder


@pytest.fixture
def folder(tmp_path):
  return _write(tmp_path / 'windows')


def test_a_window_reads_on_both_strands(folder):
  data = TrackWindows(str(folder))
  one = data.batch('train', np.arange(3))
  other = data.batch('train', np.arange(3), np.array([True, True, False]))
  sequence, target = one['sequence'], one['target']
  complement = np.where(sequence < 4, 3 - sequence, 4)
  np.testing.assert_array_equal(other['sequence'][:2], complement[:2, ::-1])
  # Tracks of strands change places, the third is of both.
  np.testing.assert_array_equal(
    other['target'][:2], target[:2, ::-1][:, :, [1, 0, 2]]
  )
  np.testing.assert_array_equal(other['target'][2], target[2])
  np.testing.assert_array_equal(one['sequence'], data.windows('train')[0][:3])


def test_epochs_see_every_window_and_resume(folder):
  data = TrackWindows(str(folder), batch_size=5, both_strands=False)
  stream = data.train()
  batches = [next(stream) for _ in range(4)]
  for epoch in (batches[:2], batches[2:]):
    seen = np.concatenate([batch['sequence'] for batch in epoch])
    every = data.windows('train')[0]
    assert {x.tobytes() for x in seen} == {x.tobytes() for x in every}
  again = data.train()
  again.set_state({'next_batch': 3})
  np.testing.assert_array_equal(next(again)['target'], batches[3]['target'])


def test_evaluation_has_every_window_once(folder):
  data = TrackWindows(str(folder), batch_size=4)
  ((label, batches),) = data.evaluation('validation')
  weight = np.concatenate([batch['weight'][:, 0] for batch in batches])
  target = np.concatenate([batch['target'] for batch in batches])
  assert label == 'validation'
  np.testing.assert_array_equal(
    target[weight > 0], data.windows('validation')[1]
  )
  assert weight.sum() == 10 and weight.size == 12


def test_tracks_are_chosen_by_assay(folder):
  data = TrackWindows(str(folder), assays=('DNASE',))
  assert data.tracks == ('DNASE:two',)
  whole = TrackWindows(str(folder)).windows('train')[1]
  np.testing.assert_array_equal(data.windows('train')[1], whole[..., 2:])
  with pytest.raises(InputError, match='no track of RNA; there are CAGE, DNA'):
    TrackWindows(str(folder), assays=('RNA',)).tracks  # noqa: B018


def test_a_strand_needs_the_track_of_the_other(folder):
  targets = TARGETS.replace('c\t2', 'c\t0')
  (folder / 'targets.txt').write_text(targets)
  data = TrackWindows(str(folder), assays=('DNASE',))
  with pytest.raises(InputError, match='strand_pair 0 is no track'):
    data.batch('train', np.arange(1), np.ones(1, bool))


def _refused(folder, message):
  with pytest.raises(InputError, match=message) as error:
    TrackWindows(str(folder)).windows('train')
  assert '\n' not in str(error.value)


def test_records_of_another_shape_are_refused(tmp_path):
  folder = _write(tmp_path / 'windows', length=LENGTH - 1)
  _refused(folder, 'train-0.tfr, record 1: sequence has 95 values, .* says 96')


def test_damaged_files_are_refused(folder):
  path = folder / 'tfrecords' / 'train-0.tfr'
  whole = path.read_bytes()
  path.write_bytes(whole[:-9])
  _refused(folder, 'train-0.tfr: not compressed with zlib, or damaged')
  path.write_bytes(zlib.compress(zlib.decompress(whole)[:-9]))
  _refused(folder, 'train-0.tfr: ends within record 5')
  path.write_bytes(zlib.compress(struct.pack('<Q', 3) + b'0000abc0000'))
  _refused(folder, 'train-0.tfr, record 1: no tf.train.Example')


def test_what_is_missing_is_named(folder):
  (folder / 'targets.txt').write_text(TARGETS.rsplit('\n', 2)[0] + '\n')
  _refused(folder, 'targets.txt: 2 tracks, statistics.json says 3')
  statistics = json.loads((folder / 'statistics.json').read_text())
  del statistics['seq_length']
  (folder / 'statistics.json').write_text(json.dumps(statistics))
  _refused(folder, 'statistics.json: no seq_length')
  (folder / 'statistics.json').unlink()
  _refused(folder, 'statistics.json: cannot be read')


def test_published_windows_are_read():
  data = TrackWindows(str(data_path('borzoi_windows/mm10/targets.txt').parent))
  sequences, target = data.windows('validation')
  assert sequences.shape == (13, 131_072)
  assert target.shape == (13, 2_048, 32)
  # Human and mouse lack CpG; a wrong order of bases would not.
  is_c, is_g = sequences[:, :-1] == 1, sequences[:, 1:] == 2
  cpg = (is_c & is_g).sum()
  gpc = ((sequences[:, :-1] == 2) & (sequences[:, 1:] == 1)).sum()
  assert cpg < gpc / 2
