"""The GUE folder reader, and what it says of bad files."""

import gzip

import numpy as np
import pytest

from data_pipelines.errors import InputError
from data_pipelines.tasks import gue

GOOD = 'sequence,label\nACGTN,1\nacg,0\n'


def _write(folder, **texts):
  for stem in ('train', 'dev', 'test'):
    text = texts.get(stem, GOOD)
    with gzip.open(folder / f'{stem}.csv.gz', 'wt') as handle:
      handle.write(text)


def test_reads_three_splits(tmp_path):
  _write(tmp_path)
  (tmp_path / 'dev.csv').write_text('sequence,label\nTT,1\n')
  task = gue.load(tmp_path, name='toy')
  assert task.split.tolist() == ['train'] * 2 + ['validation'] + ['test'] * 2
  assert task.labels.tolist() == [1, 0, 1, 1, 0]
  np.testing.assert_array_equal(task.sequences[0], [0, 1, 2, 3, 4])


@pytest.mark.parametrize(
  'text, said',
  [
    ('sequence,label\nACGT,1\nACJT,0\n', r"test\.csv\.gz:3: .*'J'.* 2"),
    ('sequence,label\nACGT,one\n', r'test\.csv\.gz:2: label'),
    (
      'sequence,label\nACGT,1\nACGT,7\n',
      r'test\.csv\.gz:3: label 7 is not in train\.csv, which has 0, 1;',
    ),
    ('sequence,label\nACGT\n', r'test\.csv\.gz:2: label'),
    ('sequence,label\n,1\n', r'test\.csv\.gz:2: empty'),
    ('seq,label\nACGT,1\n', r'test\.csv\.gz:1: needs'),
  ],
)
def test_bad_rows_are_named(tmp_path, text, said):
  _write(tmp_path, test=text)
  with pytest.raises(InputError, match=said):
    gue.load(tmp_path)


def test_missing_and_truncated_files_are_named(tmp_path):
  _write(tmp_path)
  whole = (tmp_path / 'dev.csv.gz').read_bytes()
  (tmp_path / 'dev.csv.gz').write_bytes(whole[:-9])
  with pytest.raises(InputError, match=r'dev\.csv\.gz'):
    gue.load(tmp_path)
  (tmp_path / 'dev.csv.gz').unlink()
  with pytest.raises(InputError, match=r'no dev\.csv'):
    gue.load(tmp_path)
