"""The report: nothing from outside, strings escaped, absent values said."""

from experiments import report, run

ROW = {
  'table': 't',
  'task': 'a<b',
  'split': 'test',
  'metric': 'mcc',
  'column': 'pretrained',
  'seed': 0,
  'value': 0.51234,
  'low': 0.5,
  'high': 0.525,
}
SUMMARY = {
  'step': 3,
  'loss': None,
  'tokens_per_second': 1234.5,
  'parameters_sha256': 'abc',
  'workdir': 'w',
}


def rendered(rows, lines=()):
  return report.render(
    config={'title': 'A & B', 'tables': [{'name': 'x:Y'}], 'seed': 1},
    file='f.py',
    command='c',
    lines=lines,
    rows=rows,
    summary=SUMMARY,
    facts={'date': 'today', 'hardware': 'cpu', 'parameters': '12'},
  )


def test_text_is_escaped_and_intervals_are_shown():
  page = rendered([ROW])
  assert 'A &amp; B' in page and 'a&lt;b' in page
  assert '0.512 <small>[0.500, 0.525]</small>' in page
  assert "config.tables[0].name = 'x:Y'" in page
  assert page.count('<svg') == 1


def test_a_run_without_tables_or_metrics_has_a_report():
  assert '<svg' not in rendered([])


def test_missing_values_are_said():
  row = {**ROW, 'value': None, 'low': None, 'high': None}
  assert 'n/a' in rendered([row])
  assert run.format_value(row) == 'n/a'


def test_the_printed_table_has_a_column_per_model():
  other = {**ROW, 'column': 'kmer', 'value': 0.25, 'low': None, 'high': None}
  second = {**other, 'task': 'c'}
  lines = run.format_table([ROW, other, second]).splitlines()
  assert lines[0].split() == [
    'table',
    'task',
    'split',
    'metric',
    'pretrained',
    'kmer',
  ]
  assert lines[1].split() == [
    't',
    'a<b',
    'test',
    'mcc',
    '0.512',
    '[0.500,',
    '0.525]',
    '0.250',
  ]
  assert lines[2].split() == ['t', 'c', 'test', 'mcc', '0.250']


def test_pictures_are_in_the_page(tmp_path):
  (tmp_path / 'codes_1.png').write_bytes(b'picture')
  page = report.render(
    config={},
    file='f.py',
    command='c',
    lines=(),
    rows=(),
    summary=SUMMARY,
    facts={'date': 'today', 'hardware': 'cpu', 'parameters': '12'},
    pictures=[tmp_path / 'codes_1.png'],
  )
  assert 'alt="codes 1" src="data:image/png;base64,cGljdHVyZQ=="' in page


def test_where_time_went_is_said_of_the_lines_that_say_it():
  line = {
    'step': 1,
    'split': 'train',
    'loss': 1.0,
    'tokens_per_second': 5.0,
    'goodput': 0.5,
    'loader_stall': 0.1,
  }
  known = {**line, 'utilisation': 0.25}
  assert 'of the peak' not in rendered([], [line] * 3)
  # Begun on a device of known peak, gone on with on another.
  page = rendered([], [line, known, line])
  assert '25.0% of the peak of bf16' in page
  assert '50.0% (median' in page
