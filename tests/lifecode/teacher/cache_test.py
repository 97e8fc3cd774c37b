"""The cache through the pipeline: as the teacher run online, or refused."""

import itertools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines import central_dogma, features, records
from data_pipelines.builders import omics, shards
from data_pipelines.errors import InputError
from data_pipelines.pipeline import Shards
from lifecode.teacher import cache, weights
from lifecode.teacher.features import Cached, Online, untaught_residues
from tests.lifecode.teacher.features_test import (
  WIDTH,
  make_batch,
  make_model,
  run,
)
from tests.tolerance import assert_close

ROW = 192
AMINO_ACIDS = np.flatnonzero(np.array([*records.AMINO_ACIDS]) != '*')


def make_record(index, kind, residues, rng):
  """A genome if there are no residues; codons of a protein are sampled."""
  length = 3 * len(residues) or 150
  is_read = len(residues) > 0
  sequence = rng.integers(0, 4, length).astype(np.uint8)
  if is_read:
    sequence = central_dogma.reverse_translate(
      residues, 1, policy='uniform', rng=rng
    )
  phase = np.arange(length) % 3 if is_read else records.PHASE_NONE
  return records.Record(
    name=f'{records.KINDS[kind]}{index}-{rng.integers(2**40)}',
    sequence=sequence,
    soft_mask=np.zeros(length, bool),
    kind=kind,
    codon_phase=np.broadcast_to(phase, length).astype(np.uint8),
    genetic_code=1,
    amino_acids=residues,
    codon_is_sampled=kind == records.PROTEIN,
    source='made',
    contig='',
    start=0,
    end=length,
    strand=1,
  )


def make_records(seed, longest=1_100):
  """Genomes, CDS with their stop, proteins; some do not fit into a row."""
  rng = np.random.default_rng(seed)
  stop = [records.AMINO_ACIDS.index('*')]
  made = []
  for i, length in enumerate([5, 30, 63, 64, 90, 120, 63, longest]):
    residues = rng.choice(AMINO_ACIDS, length - 1)
    residues = np.concatenate([residues, stop]).astype(np.uint8)
    made.append(make_record(i, records.CDS, residues, rng))
    made.append(make_record(i, records.GENOME, residues[:0], rng))
  for i, length in enumerate([7, 40, 70]):
    residues = rng.choice(AMINO_ACIDS, length).astype(np.uint8)
    made.append(make_record(i, records.PROTEIN, residues, rng))
  return made


@pytest.fixture(scope='module')
def made(tmp_path_factory):
  """Folders of two data sets, of a teacher, and of its features."""
  folder = tmp_path_factory.mktemp('cache')
  for seed, name in enumerate(('first', 'second')):
    splits = {
      'train': make_records(seed),
      'validation': make_records(seed + 9, longest=50),
    }
    omics.write(splits, folder / 'data', name, provenance={})
  weights.save(make_model(), folder / 'weights', is_stand_in=True)
  arguments = ['cache', f'--data={folder / "data"}', '--batch_rows=2']
  arguments += [f'--weights={folder / "weights"}', f'--out={folder / "cache"}']
  assert cache.main(arguments) == 0
  return folder


def config(folder, **options):
  given = {
    'path': folder / 'data',
    'features': folder / 'cache',
    'row_length': ROW,
    'batch_size': 8,
  }
  return Shards(**(given | options))


def take(iterator, count):
  batches = list(itertools.islice(iterator, count))
  iterator.close()
  return batches


def test_the_manifest_says_what_was_run(made):
  manifest = json.loads((made / 'cache' / features.MANIFEST).read_text())
  teacher = manifest['teacher']
  assert teacher['width'] == WIDTH and teacher['layer'] == 'last'
  assert teacher['label'].startswith('stand-in protein LM (ours, ')
  assert len(teacher['parameters_sha256']) == 64
  for name in ('first', 'second'):
    train = manifest['datasets'][name]['splits']['train']
    # The longest is beyond what the teacher reads.
    rows = 5 + 30 + 63 + 64 + 90 + 120 + 63 + 7 + 40 + 70
    assert (train['records'], train['rows']) == (19, rows)


def read_proteins(folder):
  """Residues of every record that has some."""
  found = []
  for path in shards.find_datasets(folder / 'data'):
    for split in ('train', 'validation'):
      source = shards.open_split(path, split, ('amino_acids',))
      found += [source[i]['amino_acids'] for i in range(len(source))]
  return [residues for residues in found if len(residues)]


@pytest.fixture(scope='module')
def whole(made):
  """By residues, what the teacher says of each protein in a row of its own."""
  proteins = [p for p in read_proteins(made) if len(p) <= 1_022]
  letters = [central_dogma.decode_protein(protein) for protein in proteins]
  found, _ = run(
    Online(str(made / 'weights')), make_batch([(p,) for p in letters], 128)
  )
  found = {
    bytes(protein): features[: len(protein)]
    for protein, features in zip(proteins, found, strict=True)
  }
  too_long = [p for p in read_proteins(made) if len(p) > 1_022]
  return found | {bytes(p): np.zeros((len(p), WIDTH)) for p in too_long}


def all_batches(data):
  held_out = [b for _, batches in data.evaluation() for b in batches]
  return take(data.train(), 3) + held_out


def expected_features(batch, whole):
  """Crops of the whole proteins, and which units are a protein in full."""
  expected = np.zeros(batch['teacher'].shape)
  is_full = np.zeros(expected.shape[:2], bool)
  for row, ids in enumerate(batch['segment_ids'][:, ::3]):
    for number in range(1, ids.max() + 1):
      places = np.flatnonzero(ids == number)
      residues = bytes(batch['amino_acid'][row, 3 * places])
      if records.NO_RESIDUE in residues:
        continue
      [(protein, at)] = [(p, p.find(residues)) for p in whole if residues in p]
      expected[row, places] = whole[protein][at : at + len(places)]
      is_full[row, places] = protein == residues
  return expected, is_full


def test_batches_hold_the_features_of_their_codons(made, whole):
  """Also of crops; and nothing else in the batch changes."""
  data = config(made)
  plain = all_batches(config(made, features=None))
  crops = 0
  for batch, without in zip(all_batches(data), plain, strict=True):
    expected, is_full = expected_features(batch, whole)
    crops += (expected.any(-1) & ~is_full).sum()
    assert batch['teacher'].dtype == np.float16
    assert_close(
      batch['teacher'], expected, dtype=jnp.float16, length=4 * WIDTH
    )
    assert batch.keys() == {*without, 'teacher'}
    for name, array in without.items():
      np.testing.assert_array_equal(batch[name], array)
  assert crops > 100


def test_cached_is_as_online_where_a_protein_is_in_full(made, whole):
  """A crop differs: online only the crop is seen, in the cache all of it."""
  online, cached = (
    Online(str(made / 'weights')),
    Cached(str(made / 'cache')),
  )
  assert (cached.width, cached.label) == (online.width, online.label)
  compared = 0
  for batch in all_batches(config(made)):
    _, is_full = expected_features(batch, whole)
    batch = jax.tree.map(jnp.asarray, batch)
    one, is_one = run(online, batch)
    two, is_two = run(cached, batch)
    assert (is_one == is_two)[is_full].all()
    assert not two[~is_two].any() and not (is_two & ~is_one).any()
    compared += is_one[is_full].sum()
    assert_close(
      two[is_full], one[is_full], dtype=jnp.float16, length=4 * WIDTH
    )
  assert compared > 500


def test_what_is_too_long_is_counted(made):
  cached = Cached(str(made / 'cache'))
  totals = np.zeros(2)
  for batch in all_batches(config(made, weights={'cds': 1.0})):
    batch = jax.tree.map(jnp.asarray, batch)
    totals += untaught_residues(cached, batch)
  assert 0 < totals[0] < totals[1]


def test_order_and_resume_are_those_without_features(made):
  expected = take(config(made).train(), 5)
  resumed = config(made, num_workers=1, cache_bases=0).train()
  resumed.set_state({'next_batch': 3})
  for one, two in zip(take(resumed, 2), expected[3:], strict=True):
    for name in one:
      np.testing.assert_array_equal(one[name], two[name])


def test_records_cross_shards(made, tmp_path):
  """Shards far smaller than a record hold the same."""
  whole = features.FeatureCache(made / 'cache')
  [path] = shards.find_datasets(made / 'data' / 'first')
  opened = whole.open('first', 'train')

  def blocks(path, split):
    del path
    source = whole.open('first', split)
    for record in range(19):
      yield read_record(whole, source, split, record)

  parted = features.write(
    tmp_path / 'parted',
    [path],
    blocks,
    teacher=whole.manifest['teacher'],
    shard_bytes=2 * WIDTH * 11,
  )
  parted.check([path], verify=True)
  assert len(list((tmp_path / 'parted').glob('first-train-*.npy'))) == 51
  found = parted.open('first', 'train')
  for record in (0, 2, 4, 18):
    one = read_record(whole, opened, 'train', record)
    two = read_record(parted, found, 'train', record)
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(found.read(record, 2, 5), one[2:5])
  assert found.read(1, 0, 0) is None


def read_record(cache, source, split, record):
  entry = cache.manifest['datasets']['first']['splits'][split]
  index = np.load(cache.path / entry['index']['file'])
  found = source.read(record, 0, int(index[record + 1] - index[record]))
  return np.zeros((0, WIDTH), np.float16) if found is None else found


def test_the_hash_of_the_data_follows_the_features(made):
  plain = config(made, features=None).manifest_hash()
  assert config(made).manifest_hash() not in (plain, None)


class TestBadInput:
  """One line each, before the first batch."""

  @pytest.fixture
  def folder(self, made, tmp_path):
    return shutil.copytree(made / 'cache', tmp_path / 'cache')

  def refuse(self, made, match, **options):
    with pytest.raises(InputError, match=match) as caught:
      config(made, **options)
    assert '\n' not in str(caught.value)

  def test_a_corrupted_or_missing_shard(self, made, folder):
    shard = folder / 'first-train-00000.npy'
    content = bytearray(shard.read_bytes())
    content[-5] ^= 1
    shard.write_bytes(content)
    self.refuse(made, f'{shard.name}: missing or corrupted', features=folder)
    shard.unlink()
    self.refuse(made, f'{shard.name}: missing', features=folder, verify=False)

  def test_another_data_set(self, made, tmp_path):
    omics.write({'train': make_records(5)}, tmp_path, 'first', provenance={})
    self.refuse(made, "other records of 'first'", path=tmp_path)
    omics.write({'train': make_records(5)}, tmp_path, 'third', provenance={})
    self.refuse(made, "nothing of 'third'", path=tmp_path / 'third')

  def test_no_cache(self, made, tmp_path):
    self.refuse(made, 'no feature cache here', features=tmp_path)
    with pytest.raises(InputError, match='no feature cache here'):
      Cached(str(tmp_path))
    (tmp_path / features.MANIFEST).write_text('{')
    self.refuse(made, 'not JSON', features=tmp_path)
    (tmp_path / features.MANIFEST).write_text('{"format_version": 0}')
    self.refuse(made, 'format 0', features=tmp_path)

  def test_another_width(self, made, folder):
    file = folder / features.MANIFEST
    manifest = json.loads(file.read_text())
    manifest['teacher']['width'] = 2 * WIDTH
    file.write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=f'says float16 of width {2 * WIDTH}'):
      next(config(made, features=folder).train())
    batch = next(config(made).train())
    batch = jax.tree.map(jnp.asarray, batch)
    other = Cached(str(folder))
    with pytest.raises(InputError, match=f'width {WIDTH}, those in'):
      other.features((), batch)
    del batch['teacher']
    with pytest.raises(InputError, match='hold no features'):
      other.is_taught(batch)

  def test_the_command(self, made, tmp_path, capsys):
    data, given = f'--data={made / "data"}', f'--weights={made / "weights"}'
    for arguments, message in (
      ([data, given], '--out is missing'),
      ([data, given, f'--out={made / "cache"}'], 'exists already'),
      ([f'--data={tmp_path}', given, '--out=x'], 'no data set here'),
      ([data, f'--weights={tmp_path}', '--out=x'], 'config.json'),
      ([data, given, '--out=x', '--layer=7'], 'layer=7'),
      ([data, given, '--out=x', '--dtype=int8'], 'dtype'),
    ):
      assert cache.main(['cache', *arguments]) == 2
      error = capsys.readouterr().err.strip()
      assert message in error and error.count('\n') == 0

  def test_features_beyond_float16(self, made, tmp_path):
    [path] = shards.find_datasets(made / 'data' / 'first')
    with pytest.raises(InputError, match='record 0 are not finite in float16'):
      features.write(
        tmp_path / 'cache',
        [path],
        lambda path, split: [np.full((2, WIDTH), 1e6, np.float32)],
        teacher={'label': '', 'width': WIDTH},
      )
    assert not list(tmp_path.iterdir())
