"""Windows with tracks: files, splits, strands."""

import dataclasses
import json
import pathlib
import struct
import zlib

import numpy as np
import pytest
from tensorflow_datasets.proto import tf_example_pb2

from data_pipelines.errors import InputError
from data_pipelines.tracks.borzoi import TrackWindows
from data_pipelines.tracks.species import Species
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


def _write(folder, number=5, length=LENGTH, seed=0):
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
  rng = np.random.default_rng(seed)
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


@pytest.fixture
def both(folder, tmp_path):
  """Two genomes, of the second one assay."""
  other = _write(tmp_path / 'others', number=3, seed=1)
  genomes = {
    'human': TrackWindows(str(folder)),
    'mouse': TrackWindows(str(other), assays=('DNASE',)),
  }
  return Species(genomes, batch_size=4, both_strands=False)


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


def test_epochs_see_every_window_of_every_genome_and_resume(both):
  stream = both.train()
  batches = [next(stream) for _ in range(8)]
  every = [w.windows('train')[0] for w in both.genomes.values()]
  for epoch in (batches[:4], batches[4:]):
    seen = np.concatenate([batch['sequence'] for batch in epoch])
    assert len({x.tobytes() for x in seen}) == 16
    assert {x.tobytes() for x in seen} == {
      x.tobytes() for y in every for x in y
    }
  again = both.train()
  again.set_state({'next_batch': 3})
  np.testing.assert_array_equal(next(again)['target'], batches[3]['target'])


def test_strands_are_drawn_anew_in_each_epoch(both):
  drawn = dataclasses.replace(both, both_strands=True, batch_size=16)
  first, second = (
    {x.tobytes() for x in next(stream)['sequence']}
    for stream in [drawn.train()]
    for _ in range(2)
  )
  plain = {x.tobytes() for x in next(both.train())['sequence']}
  assert first != second and len(first | plain) > 16


def test_a_window_has_the_tracks_of_its_genome(both):
  assert both.num_tracks == 4
  sets = dict(both.evaluation('validation'))
  for name, own in (('human', [0, 1, 2]), ('mouse', [3])):
    windows = both.genomes[name]
    batch = {
      key: np.concatenate([batch[key] for batch in sets[name]])
      for key in sets[name][0]
    }
    is_real = batch['weight'][:, 0] > 0
    wanted = windows.windows('validation')[1]
    np.testing.assert_array_equal(batch['target'][is_real][..., own], wanted)
    others = np.setdiff1d(np.arange(4), own)
    assert not batch['target'][..., others].any()
    # Two tracks of one assay and one of another, or one alone.
    share = [0.25, 0.25, 0.5] if name == 'human' else [1]
    assert (batch['share'][:, own] == share).all()
    assert not batch['share'][:, others].any()
    trained = np.log1p(windows.windows('train')[1])
    wanted = {'mean': trained.mean((0, 1)), 'deviation': trained.std((0, 1))}
    for key, values in wanted.items():
      assert (batch[key][:, others] == 1).all()
      np.testing.assert_allclose(batch[key][:, own], [values] * len(is_real))


def test_evaluation_has_every_window_once(both):
  sizes = [
    (name, sum(b['weight'].sum() for b in batches), len(batches))
    for name, batches in both.evaluation('validation')
  ]
  assert sizes == [('human', 10, 3), ('mouse', 6, 2)]
  few = both.evaluation('validation', max_rows=5)
  assert [sum(b['weight'].sum() for b in x) for _, x in few] == [5, 5]


def test_genomes_of_other_windows_are_trained_apart(both):
  path = pathlib.Path(both.genomes['mouse'].path) / 'statistics.json'
  path.write_text(
    path.read_text().replace('"pool_width": 8', '"pool_width": 4')
  )
  with pytest.raises(
    InputError, match=r'others: windows of .*train them apart'
  ):
    both.num_tracks  # noqa: B018


def test_a_track_that_is_flat_is_named(folder):
  data = TrackWindows(str(folder), assays=('CAGE',))
  data.windows('train')[1][...] = 0
  with pytest.raises(InputError, match='coverage of CAGE:one is the same'):
    data.scale  # noqa: B018


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


def test_batches_have_as_much_around_their_tracks_as_is_asked_for(folder):
  whole = TrackWindows(str(folder)).batch('train', np.arange(2))
  # 32 bases have tracks, 32 are on either side of them.
  data = TrackWindows(str(folder), flank=8)
  found = data.batch('train', np.arange(2))
  np.testing.assert_array_equal(
    found['sequence'], whole['sequence'][:, 24 : LENGTH - 24]
  )
  np.testing.assert_array_equal(found['target'], whole['target'])
  assert found['positions'].shape == found['segment_ids'].shape == (2, 48)
  with pytest.raises(InputError, match='flank=33, windows have 32 bases'):
    TrackWindows(str(folder), flank=33).batch('train', np.arange(2))
