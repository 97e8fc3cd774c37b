"""Bad input: one clear line, status 2, and nothing half-written."""

import gzip
import json

import numpy as np
import pytest

from data_pipelines import build, central_dogma
from data_pipelines.builders import omics
from data_pipelines.records import PROTEIN

GENOME = '>c1\n' + 'ACGT' * 500 + '\n>c2\nATGAAATAAATGCCCTAATGATGACCCCC\n'
ROW = 'c2\tx\tCDS\t{}\t{}\t.\t+\t0\tID={}\n'


def _run(tmp_path, *, genome=GENOME, gff=None, proteins=None, extra=()):
  arguments = ['build', 'omics', f'--out={tmp_path / "out"}', '--name=x']
  files = {'fasta': genome, 'gff': gff, 'proteins': proteins}
  for role, content in files.items():
    if content is not None:
      path = tmp_path / role
      data = content if isinstance(content, bytes) else content.encode()
      path.write_bytes(data)
      arguments.append(f'--{role}={path}')
  return build.main([*arguments, *extra])


BAD = {
  'missing contig': (
    {'gff': ROW.format(1, 9, 'a') + ROW.format(1, 9, 'b').replace('c2', 'c9')},
    ['gff, line 2', "'c9'", 'c1, c2'],
  ),
  'illegal letter': (
    {'genome': '>c1\nACGT\nAC!T\n'},
    ['fasta', "'c1'", 'position 7', "'!'"],
  ),
  'illegal residue': (
    {'proteins': '>p1\nMK\n>p2\nMK7\n'},
    ["'p2'", 'position 3', "'7'"],
  ),
  'truncated gzip': (
    {'genome': gzip.compress(GENOME.encode())[:-12]},
    ['fasta', 'truncated'],
  ),
  'empty file': ({'genome': ''}, ['fasta', 'no FASTA record']),
  'empty record': ({'genome': '>c1\n>c2\nACGT\n'}, ["'c1'", 'no sequence']),
  'duplicate record': (
    {'genome': '>c1\nACGT\n>c1 again\nACGT\n'},
    ['fasta', "'c1'"],
  ),
  'columns': ({'gff': 'c1 x CDS 1 9\n'}, ['gff, line 1', 'columns']),
  'coordinates': ({'gff': ROW.format(9, 1, 'a')}, ['gff, line 1', 'start']),
  'not a number': ({'gff': ROW.format('one', 9, 'a')}, ['gff, line 1', 'one']),
  'genetic code': ({'extra': ['--genetic_code=99']}, ['99']),
  'code of no contig': ({'extra': ['--genetic_code=1,c7:3']}, ["'c7'"]),
  'held out': ({'extra': ['--held_out=0.5,0.5']}, ['--held_out']),
  'held-out contig': ({'extra': ['--test_contigs=c7']}, ["'c7'"]),
  'flag': ({'extra': ['--windo=3']}, ['windo']),
  'missing file': ({'extra': ['--proteins=/no/such']}, ['/no/such']),
}


@pytest.mark.parametrize('case', BAD)
def test_one_line_and_nothing_written(tmp_path, capsys, case):
  inputs, expected = BAD[case]
  assert _run(tmp_path, **inputs) == 2
  captured = capsys.readouterr()
  lines = [line for line in captured.err.splitlines() if 'error' in line]
  assert len(lines) == 1 and not captured.out
  for text in expected:
    assert text in lines[0]
  assert not omics.find_datasets(tmp_path)
  assert not (tmp_path / 'out').exists() or not list(
    (tmp_path / 'out').iterdir()
  )


def test_bad_cds_are_named_in_rejects(tmp_path, capsys):
  gff = (
    ROW.format(1, 9, 'good')
    + ROW.format(10, 17, 'frame')
    + ROW.format(10, 18, 'other')
    + ROW.format(16, 27, 'stop')
    + ROW.format(28, 42, 'past')
  )
  proteins = '>good\nMK\n>other\nMPP\n>alone\nMLLX\n'
  assert _run(tmp_path, gff=gff, proteins=proteins) == 0
  summary = json.loads(capsys.readouterr().out)
  assert summary['cds'] == 5
  assert summary['cds_equal_protein'] == 1
  assert summary['by_reason'] == {
    'not_multiple_of_3': 1,
    'protein_mismatch': 1,
    'internal_stop': 1,
    'past_contig_end': 1,
  }
  (directory,) = omics.find_datasets(tmp_path / 'out')
  table = (directory / 'rejects.tsv').read_text()
  for name in ('frame', 'other', 'stop', 'past'):
    assert f'\n{name}\tcds\t' in table
  assert 'good' not in table
  _check_sampled_protein(directory)


def _check_sampled_protein(directory):
  """The protein without a CDS is there as drawn codons that translate back."""
  rows = [
    row
    for split in omics.load_manifest(directory)['splits']
    for row in omics.open_split(directory, split)
    if row['kind'] == PROTEIN
  ]
  (row,) = rows
  assert row['codon_is_sampled'] and row['name'] == 'protein-alone'
  assert central_dogma.decode_protein(row['amino_acids']) == 'MLLX*'
  back = central_dogma.translate(row['sequence'], 1)
  assert np.array_equal(back, row['amino_acids'])


def test_other_content_is_not_overwritten(tmp_path, capsys):
  assert _run(tmp_path) == 0
  (directory,) = omics.find_datasets(tmp_path / 'out')
  before = (directory / 'manifest.json').read_text()
  assert _run(tmp_path) == 0
  assert _run(tmp_path, extra=['--window=100']) == 2
  assert '--overwrite' in capsys.readouterr().err
  assert (directory / 'manifest.json').read_text() == before
  assert _run(tmp_path, extra=['--window=100', '--overwrite']) == 0
  assert (directory / 'manifest.json').read_text() != before
