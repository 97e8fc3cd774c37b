"""Record shards: written, read back, and built from real genomes."""

import json
import multiprocessing
import operator

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_pipelines import build, central_dogma
from data_pipelines.builders import omics
from data_pipelines.builders.splits import SplitConfig, deal
from data_pipelines.errors import InputError
from data_pipelines.records import CDS, GENOME, PROTEIN, RNA, Record
from tests.real_data import data_path


def _record(name, length=30, *, kind=GENOME, seed=0, **changes) -> Record:
  rng = np.random.default_rng(seed)
  values = {
    'name': name,
    'sequence': rng.integers(0, 5, length, dtype=np.uint8),
    'soft_mask': np.zeros(length, np.bool_),
    'kind': kind,
    'codon_phase': np.full(length, 3, np.uint8),
    'genetic_code': 11,
    'amino_acids': np.zeros(0, np.uint8),
    'codon_is_sampled': False,
    'source': 'x',
    'contig': 'c',
    'start': 0,
    'end': length,
    'strand': 1,
  }
  return Record(**{**values, **changes})


def _records():
  # Ends on AAA, whose bytes are all zero; and lengths that differ.
  first = _record(
    'a',
    sequence=np.array([1, 0, 0, 0], np.uint8),
    soft_mask=np.array([True, False, False, False]),
    codon_phase=np.array([3, 0, 1, 2], np.uint8),
    amino_acids=np.array([8], np.uint8),
  )
  return [first, _record('b', 50, seed=1), _record('c', 7, kind=RNA, seed=2)]


def _assert_equal(row, record):
  for field in omics.FIELDS:
    assert np.array_equal(row[field], getattr(record, field)), field


def test_records_come_back(tmp_path):
  omics.write(
    {'train': _records(), 'test': iter(()), 'validation': [_record('v')]},
    tmp_path,
    'x',
    provenance={},
  )
  source = omics.open_split(tmp_path / 'x', 'train')
  assert len(source) == 3
  for row, record in zip(source, _records(), strict=True):
    _assert_equal(row, record)
  lengths = omics.load_lengths(tmp_path / 'x', 'train')
  assert lengths.tolist() == [[GENOME, 4], [GENOME, 50], [RNA, 7]]
  manifest = omics.load_manifest(tmp_path / 'x')
  assert set(manifest['splits']) == {'train', 'validation'}
  assert manifest['splits']['train']['bases'] == 61
  assert manifest['genetic_codes'] == [11]
  only = omics.open_split(tmp_path / 'x', 'train', ('sequence', 'kind'))[-1]
  assert set(only) == {'sequence', 'kind'}
  assert np.array_equal(only['sequence'], _records()[2].sequence)
  with pytest.raises(InputError, match='no split'):
    omics.open_split(tmp_path / 'x', 'test')


def test_tfds_reads_the_same_shards(tmp_path):
  omics.write({'train': _records()}, tmp_path, 'x', provenance={})
  (directory,) = omics.find_datasets(tmp_path)
  source = tfds.builder_from_directory(directory).as_data_source('train')
  for row, record in zip(source, _records(), strict=True):
    assert np.array_equal(row['sequence'], record.sequence)
    assert row['name'].decode() == record.name


def test_source_is_read_in_spawned_workers(tmp_path):
  omics.write({'train': _records()}, tmp_path, 'x', provenance={})
  source = omics.open_split(tmp_path / 'x', 'train')
  assert len(source[0]['sequence']) == 4
  with multiprocessing.get_context('spawn').Pool(1) as pool:
    row = pool.apply(operator.getitem, (source, 1))
  _assert_equal(row, _records()[1])


def test_codon_usage_is_of_train_cds(tmp_path):
  cds = central_dogma.encode('ATGCTGCTGTAA')
  phase = np.resize(np.arange(3, dtype=np.uint8), 12)
  made = {
    split: [_record(split, 12, kind=CDS, sequence=s, codon_phase=phase)]
    for split, s in (
      ('train', cds),
      ('test', central_dogma.encode('AAAAAAAAAAAA')),
    )
  }
  manifest = omics.write(made, tmp_path, 'x', provenance={})
  assert manifest['codon_usage']['CTG'] == 0.5
  assert manifest['codon_usage']['AAA'] == 0


def test_corrupted_shard_is_named(tmp_path):
  manifest = omics.write({'train': _records()}, tmp_path, 'x', provenance={})
  omics.verify(tmp_path / 'x')
  (shard,) = manifest['splits']['train']['shards']
  path = tmp_path / 'x' / manifest['version'] / shard['file']
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)
  with pytest.raises(InputError, match=shard['file']):
    omics.verify(tmp_path / 'x')


def test_same_input_gives_the_same_manifest(tmp_path):
  first = omics.write({'train': _records()}, tmp_path / 'a', 'x', provenance={})
  again = omics.write({'train': _records()}, tmp_path / 'b', 'x', provenance={})
  assert first == again


def test_failed_write_leaves_nothing(tmp_path):
  def broken():
    yield _record('a')
    yield _record('a')

  with pytest.raises(InputError, match="'a'"):
    omics.write({'train': broken()}, tmp_path, 'x', provenance={})
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  'lengths',
  [{'one': 5386}, {'one': 4_641_652}, {'a': 90, 'b': 100, 'c': 80, 'm': 1}],
)
def test_regions_hold_something_out(lengths):
  regions = deal(lengths, SplitConfig())
  assert regions == deal(lengths, SplitConfig())
  bases = dict.fromkeys(('train', 'validation', 'test'), 0)
  for contig, region in regions.items():
    bounds = region.bounds()
    assert bounds[0][0] == 0 and bounds[-1][1] == lengths[contig]
    for (start, end), split in zip(bounds, region.splits, strict=True):
      bases[split] += end - start
      assert region.split_of(start, end) == split
  assert min(bases.values()) > 0.03 * sum(lengths.values())
  assert bases['train'] == max(bases.values())


def test_region_border_between_splits_is_seen():
  regions = deal({'one': 4_641_652}, SplitConfig())['one']
  borders = [
    start
    for start, before, after in zip(
      regions.starts[1:], regions.splits, regions.splits[1:], strict=False
    )
    if before != after
  ]
  assert borders
  for border in borders:
    assert regions.split_of(border - 1, border + 1) is None
    assert regions.split_of(border - 1, border) is not None


def _build(capsys, out, *arguments) -> dict:
  status = build.main(['build', 'omics', f'--out={out}', *map(str, arguments)])
  captured = capsys.readouterr()
  assert status == 0, captured.err
  return json.loads(captured.out.splitlines()[-1])


def _assert_no_leak(path):
  """No base of a held-out window lies in a record of another split."""
  held_out, others = {}, []
  for split in omics.load_manifest(path)['splits']:
    fields = ('kind', 'contig', 'start', 'end')
    for row in omics.open_split(path, split, fields):
      if row['kind'] == GENOME:
        for base in range(row['start'] // 100, -(-row['end'] // 100)):
          held_out.setdefault((row['contig'], base), set()).add(split)
      elif row['kind'] != PROTEIN:
        others.append((split, row))
  for split, row in others:
    for base in range(row['start'] // 100 + 1, row['end'] // 100):
      assert held_out.get((row['contig'], base), {split}) == {split}


def test_ecoli(tmp_path, capsys):
  folder = data_path('ecoli_k12')
  stem = 'GCF_000005845.2_ASM584v2'
  summary = _build(
    capsys,
    tmp_path,
    '--name=ecoli',
    '--genetic_code=11',
    f'--fasta={folder / stem}_genomic.fna.gz',
    f'--gff={folder / stem}_genomic.gff.gz',
    f'--proteins={folder / stem}_protein.faa.gz',
  )
  assert summary['bases'] == 4_641_652
  assert summary['cds'] == 4298
  assert summary['cds_equal_protein'] == 4295
  assert summary['equal_with_translation_exceptions'] == 3
  assert set(summary['splits']) == {'train', 'validation', 'test'}
  assert set(summary['by_reason']) == {'pseudo', 'crosses_split_boundary'}
  rejects = (tmp_path / 'ecoli/1.0.0/rejects.tsv').read_text().splitlines()
  assert len(rejects) == summary['rejected'] + 1
  _assert_no_leak(tmp_path / 'ecoli')


def test_yeast(tmp_path, capsys):
  folder = data_path('yeast_s288c')
  summary = _build(
    capsys,
    tmp_path,
    '--name=yeast',
    f'--fasta={folder}/S288C.genome.fa.gz',
    f'--gff={folder}/S288C.all_feature.gff.gz',
    f'--proteins={folder}/S288C.pep.fa.gz',
  )
  assert summary['cds'] == 5570
  assert summary['cds_equal_protein'] == 5569
  assert summary['by_reason']['not_multiple_of_3'] == 1
  assert summary['coding_introns_gt_ag'] == 212


@pytest.mark.parametrize(('table', 'num_equal'), [('3', 8), ('1,chrMT:3', 8)])
def test_yeast_mitochondrion(tmp_path, capsys, table, num_equal):
  folder = data_path('yeast_s288c')
  summary = _build(
    capsys,
    tmp_path,
    '--name=mt',
    f'--genetic_code={table}',
    f'--fasta={folder}/S288C.mt.genome.fa.gz',
    f'--gff={folder}/S288C.mt.all_feature.gff.gz',
    f'--proteins={folder}/S288C.mt.pep.fa.gz',
  )
  assert summary['cds'] == 8
  assert summary['cds_equal_protein'] == num_equal


@pytest.mark.parametrize(
  ('species', 'num_cds', 'num_complete', 'num_introns', 'num_canonical'),
  [
    ('celegans', 307, 302, 1960, 1953),
    ('dmelanogaster', 244, 236, 1091, 1078),
    # SOURCE.md counts the protein rows of TAIR as transcripts too: twice these.
    ('athaliana', 463, 460, 1980, 1956),
  ],
)
def test_introns_are_spliced(
  tmp_path, capsys, species, num_cds, num_complete, num_introns, num_canonical
):
  stem = data_path('worm_fly_cress_1pct') / f'{species}.1pct'
  summary = _build(
    capsys,
    tmp_path,
    f'--name={species}',
    f'--fasta={stem}.fa.gz',
    f'--gff={stem}.gff3.gz',
  )
  assert summary['cds'] == num_cds
  assert summary['complete_orfs'] == num_complete
  assert summary['coding_introns'] == num_introns
  assert summary['coding_introns_gt_ag'] == num_canonical
  assert summary['cds_equal_protein'] is None
  _assert_no_leak(tmp_path / species)
