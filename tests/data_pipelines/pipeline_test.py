"""The pipeline on real shards: batches, order, resume, evaluation, errors."""

import dataclasses
import functools
import itertools
import json

import numpy as np
import pytest

from data_pipelines import central_dogma, records
from data_pipelines.builders import omics, shards
from data_pipelines.errors import InputError
from data_pipelines.pipeline import Shards

ROW = 96


def make_record(index, kind, length, rng, *, coding=None, sampled=False):
  """`coding`: (start, end) of its CDS."""
  sequence = rng.integers(0, 4, length).astype(np.uint8)
  phase = np.full(length, records.PHASE_NONE, np.uint8)
  amino_acids = np.zeros(0, np.uint8)
  if coding is not None:
    start, end = coding
    phase[start:end] = np.arange(end - start) % 3
    amino_acids = central_dogma.translate(sequence[start:end], 1)
  return records.Record(
    name=f'{records.KINDS[kind]}{index}-{rng.integers(2**40)}',
    sequence=sequence,
    soft_mask=rng.random(length) < 0.2,
    kind=kind,
    codon_phase=phase,
    genetic_code=1,
    amino_acids=amino_acids,
    codon_is_sampled=sampled,
    source='made',
    contig='',
    start=0,
    end=length,
    strand=1,
  )


def make_records(seed):
  rng = np.random.default_rng(seed)
  made = [make_record(i, records.GENOME, 100, rng) for i in range(12)]
  for i in range(20):
    length = 3 * int(rng.integers(2, 50))
    made.append(make_record(i, records.CDS, length, rng, coding=(0, length)))
  for i in range(8):
    start = 5 + i
    made.append(
      make_record(i, records.RNA, 70 + i, rng, coding=(start, start + 30))
    )
  for i in range(6):
    made.append(
      make_record(i, records.PROTEIN, 60, rng, coding=(0, 60), sampled=True)
    )
  return made


@pytest.fixture(scope='module')
def data(tmp_path_factory):
  out = tmp_path_factory.mktemp('shards')
  for seed, name in enumerate(('first', 'second')):
    omics.write(
      {'train': make_records(seed), 'validation': make_records(seed + 10)},
      out,
      name,
      provenance={},
    )
  return out


def config(data, **options):
  return Shards(path=data, row_length=ROW, batch_size=8, **options)


def take(iterator, count):
  batches = list(itertools.islice(iterator, count))
  iterator.close()
  return batches


def is_equal(left, right):
  return len(left) == len(right) and all(
    np.array_equal(a[name], b[name])
    for a, b in zip(left, right, strict=True)
    for name in {*a, *b}
  )


@functools.cache
def records_by_kind(path, split):
  """Every record's sequence, per kind."""
  found = {kind: [] for kind in range(len(records.KINDS))}
  for dataset in shards.find_datasets(path):
    source = shards.open_split(dataset, split)
    for record in (source[i] for i in range(len(source))):
      found[int(record['kind'])].append(record)
  return found


def segments(batch):
  """(row, slice) of every segment."""
  for row, segment_ids in enumerate(batch['segment_ids']):
    for segment_id in range(1, segment_ids.max() + 1):
      places = np.flatnonzero(segment_ids == segment_id)
      assert np.array_equal(
        places, np.arange(places[0], places[0] + len(places))
      )
      yield row, slice(places[0], places[0] + len(places))


def test_batches_have_the_packed_format(data):
  batch = take(config(data).train(), 1)[0]
  dtypes = {name: array.dtype.name for name, array in batch.items()}
  assert dtypes == {
    'sequence': 'uint8',
    'segment_ids': 'int32',
    'positions': 'int32',
    'kind': 'uint8',
    'codon_phase': 'uint8',
    'amino_acid': 'uint8',
    'genetic_code': 'uint8',
    'soft_mask': 'bool',
    'codon_is_sampled': 'bool',
  }
  assert {array.shape for array in batch.values()} == {(8, ROW)}
  padding = batch['segment_ids'] == 0
  assert (batch['sequence'][padding] == records.PAD).all()
  assert (batch['sequence'][~padding] < records.PAD).all()
  assert (batch['codon_phase'][padding] == records.PHASE_NONE).all()
  for row, part in segments(batch):
    length = part.stop - part.start
    assert part.start % 3 == 0 and length % 3 == 0
    assert np.array_equal(batch['positions'][row, part], np.arange(length))
    assert len(set(batch['kind'][row, part])) == 1


def test_every_segment_is_a_part_of_a_record(data):
  known = records_by_kind(data, 'train')
  strands = set()
  for batch in take(config(data).train(), 6):
    for row, part in segments(batch):
      kind = int(batch['kind'][row, part.start])
      found = find(batch, row, part, known[kind])
      assert found is not None
      strands.add((kind == records.GENOME, found))
  assert strands == {(True, 1), (True, -1), (False, 1)}


def find(batch, row, part, candidates):
  """The strand on which the segment reads a part of one of the records."""
  text = batch['sequence'][row, part]
  # Codons of a protein are drawn anew; its residues stay.
  is_drawn = batch['codon_is_sampled'][row, part.start]
  for record, strand in itertools.product(candidates, (1, -1)):
    tracks = [record[n] for n in ('sequence', 'soft_mask', 'codon_phase')]
    if strand == -1:
      tracks[0] = central_dogma.reverse_complement(tracks[0])
      tracks[1] = tracks[1][::-1]
      tracks[2] = np.array([2, 1, 0, 3], np.uint8)[tracks[2]][::-1]
    whole, target = tracks[0], text
    if is_drawn:
      whole = central_dogma.translate(whole, 1)
      target = central_dogma.translate(text, 1)
    at = whole.tobytes().find(target.tobytes()) * (3 if is_drawn else 1)
    if at < 0:
      continue
    here = slice(at, at + len(text))
    if np.array_equal(
      batch['soft_mask'][row, part], tracks[1][here]
    ) and np.array_equal(batch['codon_phase'][row, part], tracks[2][here]):
      return strand
  return None


def test_residues_stand_at_the_bases_of_their_codons(data):
  kinds = set()
  for batch in take(config(data).train(), 6):
    for row, part in segments(batch):
      residues = batch['amino_acid'][row, part]
      kind = int(batch['kind'][row, part.start])
      if kind not in (records.CDS, records.PROTEIN):
        assert (residues == records.NO_RESIDUE).all()
        continue
      kinds.add(kind)
      translated = central_dogma.translate(batch['sequence'][row, part], 1)
      assert np.array_equal(residues, translated.repeat(3))
    padding = batch['segment_ids'] == 0
    assert (batch['amino_acid'][padding] == records.NO_RESIDUE).all()
  assert kinds == {records.CDS, records.PROTEIN}


def test_coding_segments_begin_on_a_codon(data):
  coding = 0
  for batch in take(config(data, reverse_complement=0.0).train(), 6):
    for row, part in segments(batch):
      phase = batch['codon_phase'][row, part]
      known = phase != records.PHASE_NONE
      assert np.array_equal(phase[known], np.flatnonzero(known) % 3)
      coding += known.any()
  assert coding > 30


def test_codons_of_proteins_are_drawn_anew(data):
  weights = {'protein': 1.0}
  batches = take(config(data, weights=weights).train(), 3)
  assert all(b['codon_is_sampled'][b['segment_ids'] > 0].all() for b in batches)
  stored = {
    record['sequence'].tobytes()
    for record in records_by_kind(data, 'train')[records.PROTEIN]
  }
  drawn = {
    batch['sequence'][row, part].tobytes()
    for batch in batches
    for row, part in segments(batch)
  }
  assert len(drawn - stored) > 1.5 * len(stored)


def test_the_codon_policy_changes_codons_and_no_residue(data):
  weights = {'protein': 1.0}
  usage, uniform = (
    take(config(data, weights=weights, codon_policy=policy).train(), 1)[0]
    for policy in ('usage', 'uniform')
  )
  assert not np.array_equal(usage['sequence'], uniform['sequence'])
  np.testing.assert_array_equal(usage['amino_acid'], uniform['amino_acid'])


@pytest.mark.parametrize('workers', [1, 2])
def test_order_and_resume_do_not_depend_on_workers(data, workers):
  expected = take(config(data).train(), 7)
  made = config(data, num_workers=workers).train()
  start = list(itertools.islice(made, 4))
  state = json.loads(json.dumps(made.get_state()))
  made.close()
  assert is_equal(start, expected[:4])

  resumed = config(data).train()
  resumed.set_state(state)
  assert is_equal(take(resumed, 3), expected[4:])


def test_resume_far_ahead_reads_no_record_before(data):
  whole = config(data).train()
  far = 300
  for _ in range(far):
    next(whole)
  resumed = config(data, cache_bases=0, num_threads=2).train()
  resumed.set_state({'next_batch': far})
  assert is_equal(take(resumed, 2), take(whole, 2))


def test_processes_share_a_batch(data):
  whole = take(config(data).train(), 3)
  parts = [
    take(config(data).train(process_id=p, num_processes=2), 3) for p in (0, 1)
  ]
  joined = [
    {name: np.concatenate([a[name], b[name]]) for name in a}
    for a, b in zip(*parts, strict=True)
  ]
  assert is_equal(joined, whole)


def test_the_seed_changes_the_batches(data):
  assert is_equal(take(config(data).train(), 1), take(config(data).train(), 1))
  other = take(config(data, seed=1).train(), 1)
  assert not is_equal(take(config(data).train(), 1), other)


def test_evaluation_reads_every_base_once_per_dataset_and_kind(data):
  labels = []
  for label, batches in config(data).evaluation('validation'):
    labels.append(label)
    name, kind = label.split('/')
    source = shards.open_split(data / name, 'validation')
    expected = sum(
      np.bincount(r['sequence'][: len(r['sequence']) // 3 * 3], minlength=4)
      for r in (source[i] for i in range(len(source)))
      if records.KINDS[r['kind']] == kind
    )
    batches = list(batches)
    assert {b['sequence'].shape for b in batches} == {(8, ROW)}
    bases = np.concatenate([b['sequence'].reshape(-1) for b in batches])
    counts = np.bincount(bases[bases < records.PAD], minlength=4)
    if kind == 'rna':
      # An mRNA is moved onto its frame: up to five bases of each are lost.
      assert 0 <= (expected - counts).sum() <= 5 * 8
    else:
      assert np.array_equal(counts, expected)
  names = [f'{d}/{k}' for d in ('first', 'second') for k in records.KINDS]
  assert labels == names


def test_evaluation_is_divided_among_processes_and_can_be_cut_short(data):
  whole = config(data).evaluation('validation', max_rows=5)
  parts = [
    config(data).evaluation(
      'validation', max_rows=5, process_id=p, num_processes=2
    )
    for p in (0, 1)
  ]
  for (_, [batch]), (_, [left]), (_, [right]) in zip(
    whole, *parts, strict=True
  ):
    assert 1 <= (batch['segment_ids'].max(axis=1) > 0).sum() <= 5
    joined = {n: np.concatenate([left[n], right[n]]) for n in batch}
    assert is_equal([joined], [batch])


def test_manifest_hash_follows_the_content(data, tmp_path):
  assert config(data).manifest_hash() == config(data, seed=3).manifest_hash()
  both = config((data / 'second', data / 'first')).manifest_hash()
  assert both == config(data).manifest_hash()
  assert both != config(data / 'first').manifest_hash()


def test_a_corrupted_shard_is_named(tmp_path):
  omics.write({'train': make_records(0)}, tmp_path, 'broken', provenance={})
  [shard] = tmp_path.rglob('*.array_record*')
  content = bytearray(shard.read_bytes())
  content[len(content) // 2] ^= 255
  shard.write_bytes(content)
  with pytest.raises(InputError, match=shard.name):
    config(tmp_path)
  shard.write_bytes(content[:-1])
  with pytest.raises(InputError, match=shard.name):
    config(tmp_path, verify=False)


def test_mistakes_are_named(data, tmp_path):
  with pytest.raises(InputError, match='row_length=100'):
    dataclasses.replace(config(data), row_length=100)
  with pytest.raises(InputError, match='dna='):
    config(data, weights={'dna': 1.0})
  with pytest.raises(InputError, match='size_exponent=2'):
    config(data, size_exponent=2)
  with pytest.raises(InputError, match='no data set'):
    config(tmp_path)
  with pytest.raises(InputError, match='empty'):
    config('')
  with pytest.raises(InputError, match="split 'test'"):
    config(data).evaluation('test')
  with pytest.raises(InputError, match='3 processes'):
    config(data).train(num_processes=3)
