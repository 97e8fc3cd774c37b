"""CDS with values, in one table or joined from two files."""

import numpy as np
import pytest

from backbone.downstream import kmer, metrics
from data_pipelines import records
from data_pipelines.errors import InputError
from data_pipelines.tasks.values import JoinedValues, SequenceValues
from tests.real_data import data_path


@pytest.fixture(scope='module')
def messenger():
  path = data_path('cds_calm', 'expression', 'ecoli_tpm.csv.gz')
  return SequenceValues(str(path), 'mrna', 'logtpm', genetic_code=11)()


def test_expression_of_e_coli(messenger):
  assert len(messenger.labels) == 3258
  assert messenger.labels[0] == pytest.approx(1.7484612)
  assert (messenger.kind, messenger.genetic_code) == (records.CDS, 11)
  assert all(sequence.size % 3 == 0 for sequence in messenger.sequences)
  in_test = {
    s.tobytes()
    for s, split in zip(messenger.sequences, messenger.split, strict=True)
    if split == 'test'
  }
  assert (messenger.split == 'test').sum() >= len(in_test) > 600
  for sequence, split in zip(messenger.sequences, messenger.split, strict=True):
    assert (sequence.tobytes() in in_test) == (split == 'test')


def test_codons_tell_expression_as_is_known(messenger):
  config = kmer.KmerConfig(ks=(3,), residue_ks=(1,))
  score, chosen = kmer.evaluate(messenger, metrics.Bootstrap(), config)
  # A ridge on codon frequencies reaches 0.62 on a random fifth.
  assert chosen == 'codons'
  assert 0.55 < score.value < 0.7


def test_abundance_is_logged_and_long_genes_are_counted():
  path = data_path('cds_calm', 'expression', 'ecoli_protein_abundance.csv.gz')
  task = SequenceValues(
    str(path), 'protein', 'abundance', is_log1p=True, max_bases=3000
  )()
  assert task.labels[0] == pytest.approx(np.log1p(18554))
  assert len(task.labels) == 2881
  assert task.notes == ('30 CDS above 3,000 bases left out',)


def test_expression_of_yeast_is_joined_by_systematic_name():
  folder = data_path('yeast_s288c')
  task = JoinedValues(
    str(folder / 'tpm.csv.gz'),
    str(folder / 'S288C.cds.fa.gz'),
    'yeast',
    'gene_id',
    'tpm',
  )()
  assert len(task.labels) == 3765
  # Every row is taken or counted.
  counted = [int(note.split()[0].replace(',', '')) for note in task.notes]
  assert 3765 + sum(counted) == 4408
  assert all(sequence[:3].tolist() == [0, 3, 2] for sequence in task.sequences)


def _joined(tmp_path, rows, fasta='>r1|YA/YB\nATG\n>r2|YC\nATGTAA\n'):
  (tmp_path / 'rows.csv').write_text('gene,value\n' + rows)
  (tmp_path / 'cds.fa').write_text(fasta)
  return JoinedValues(
    str(tmp_path / 'rows.csv'),
    str(tmp_path / 'cds.fa'),
    'toy',
    'gene',
    'value',
  )()


def test_rows_without_one_record_are_counted(tmp_path):
  task = _joined(tmp_path, 'YC,1\nYA,2\nYB,3\nYD,4\nr2x,\n')
  assert task.labels.tolist() == [pytest.approx(np.log(2))]
  assert [note.split(':')[0] for note in task.notes] == [
    '1 rows of rows.csv left out',
    '1 rows of rows.csv left out',
    '2 rows of rows.csv left out',
  ]


@pytest.mark.parametrize(
  'rows, fasta, said',
  [
    ('YC,-1\n', None, r'rows\.csv:2: value -1 has no log'),
    ('YC,x\n', None, r"rows\.csv:2: value 'x' is not"),
    ('YD,1\n', None, r'rows\.csv: no gene is in a header of .*cds\.fa'),
    ('YC,1\n', '>YC\nATGA\n', r"cds\.fa: record 'YC': 4 bases are not whole"),
    ('YC,1\n', '>YC\nAT!\n', r"cds\.fa: record 'YC': illegal letter '!'"),
  ],
)
def test_bad_values_are_named(tmp_path, rows, fasta, said):
  with pytest.raises(InputError, match=said) as caught:
    _joined(tmp_path, rows, *([fasta] if fasta else []))
  assert '\n' not in str(caught.value)
