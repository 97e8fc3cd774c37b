"""Rows of tables, splits by key, and limits."""

import zipfile

import numpy as np
import pytest

from data_pipelines.errors import InputError
from data_pipelines.tasks import table
from data_pipelines.tasks.choose import Limits, RandomSplit

READ = {
  'name': lambda row: row.text('name'),
  'value': lambda row: row.number('value'),
  'count': lambda row: row.integer('count'),
  'bases': lambda row: row.codons('bases'),
  'set': lambda row: row.choice('set', ('a', 'b')),
}
GOOD = {'name': 'x', 'value': '1.5', 'count': '2', 'bases': 'ACG', 'set': 'a'}


def _write(tmp_path, *rows):
  lines = [','.join(READ), *(','.join(row.values()) for row in rows)]
  path = tmp_path / 'rows.csv'
  path.write_text('\n'.join(lines) + '\n')
  return path


def test_columns_are_read(tmp_path):
  (row,) = table.read(_write(tmp_path, GOOD), tuple(READ))
  assert [READ[name](row) for name in ('name', 'value', 'count', 'set')] == [
    'x',
    1.5,
    2,
    'a',
  ]
  assert row.codons('bases').tolist() == [0, 1, 2]


@pytest.mark.parametrize(
  'column, text, said',
  [
    ('name', ' ', 'empty name'),
    ('value', 'much', "value 'much' is not a finite"),
    ('value', 'nan', "value 'nan' is not a finite"),
    ('count', '2.5', "count '2.5' is not a whole"),
    ('bases', '', 'empty bases'),
    ('bases', 'AJG', "illegal letter 'J' at 0-based position 1"),
    ('bases', 'ACGT', '4 bases, which are not whole codons'),
    ('set', 'c', "set 'c'; expected 'a' or 'b'"),
  ],
)
def test_what_is_wrong_is_named_by_line(tmp_path, column, text, said):
  path = _write(tmp_path, GOOD, {**GOOD, column: text})
  rows = list(table.read(path, tuple(READ)))
  READ[column](rows[0])
  with pytest.raises(InputError, match=r'rows\.csv:3: ') as caught:
    READ[column](rows[1])
  assert said in str(caught.value)
  assert '\n' not in str(caught.value)


def test_columns_and_fields_are_counted(tmp_path):
  path = _write(tmp_path, {**GOOD, 'set': 'a,b'})
  with pytest.raises(InputError, match=r':2: more fields'):
    list(table.read(path, tuple(READ)))
  with pytest.raises(InputError, match=r':1: needs .* no weight'):
    list(table.read(path, ('name', 'weight')))


def test_members_of_an_archive_are_named(tmp_path):
  path = tmp_path / 'all.zip'
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('in/rows.csv', 'name\nx\n')
  with table.open_member(path, 'in/rows.csv') as text:
    (row,) = table.parse(text, 'rows.csv', ('name',))
  assert row.text('name') == 'x'
  with (
    pytest.raises(InputError, match=r"no 'rows' in it; there are in/rows\.csv"),
    table.open_member(path, 'rows'),
  ):
    pass
  path.write_bytes(path.read_bytes()[:30])
  with (
    pytest.raises(InputError, match='zip is damaged'),
    table.open_member(path, 'in/rows.csv'),
  ):
    pass


def test_equal_keys_share_a_split_whatever_their_order():
  keys = [f'{i % 100}' for i in range(1000)]
  split = RandomSplit(validation=0.1, test=0.3, seed=4)(keys)
  of_key = dict(zip(keys, split, strict=True))
  assert [of_key[key] for key in keys] == split.tolist()
  assert [list(of_key.values()).count(name) for name in ('test', 'train')] == [
    30,
    60,
  ]
  backwards = RandomSplit(validation=0.1, test=0.3, seed=4)(keys[::-1])
  np.testing.assert_array_equal(backwards[::-1], split)
  other = RandomSplit(validation=0.1, test=0.3, seed=5)(keys)
  assert not np.array_equal(other, split)
  with pytest.raises(InputError, match='two shares'):
    RandomSplit(validation=0.5, test=0.5)


def test_limits_leave_the_test_set_whole_unless_told():
  split = np.repeat(['train', 'validation', 'test', ''], [50, 20, 30, 5])
  limits = Limits(train=10, validation=40)
  kept = limits.kept(split)
  assert (np.diff(kept) > 0).all()
  names, counts = np.unique(split[kept], return_counts=True)
  assert dict(zip(names.tolist(), counts.tolist(), strict=True)) == {
    'test': 30,
    'train': 10,
    'validation': 20,
  }
  assert limits.notes(split) == ('train: 10 of 50 examples taken, seed 0',)
  assert (split[Limits(test=3).kept(split)] == 'test').sum() == 3
