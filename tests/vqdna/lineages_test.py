"""Who votes for whom, and a whole report of a few made-up genomes."""

import json

import numpy as np
import pytest

from data_pipelines.tasks.lineages import Lineages
from tests.vqdna.vocabulary_test import LEARNINGS, write
from vqdna import lineages


def test_the_nearest_that_may_vote_do():
  distance = np.abs(np.subtract.outer(np.arange(7.0), np.arange(7.0)))
  labels = np.array(list('aabbbbb'))
  everyone = ~np.eye(7, dtype=bool)
  predicted = lineages.neighbours_vote(distance, labels, everyone)
  assert ''.join(predicted) == 'bbbbbbb'
  only_first = np.zeros((7, 7), bool)
  only_first[:, 0] = True
  predicted = lineages.neighbours_vote(distance, labels, only_first)
  assert ''.join(predicted) == 'aaaaaaa'


def test_neighbours_are_of_another_day_and_country():
  found = Lineages(
    strains=list('abc'),
    genomes=[],
    clades=np.array(list('xxx')),
    dates=np.array(['2020-01-01', '2020-01-01', '2020-01-02']),
    countries=np.array(['P', 'Q', 'P']),
  )
  assert lineages.may_vote(found).tolist() == [
    [False, False, False],
    [False, False, True],
    [False, True, False],
  ]


@pytest.mark.parametrize('date', ['2020', '2020-03', '2020-03-XX', '?'])
def test_what_is_not_known_to_the_day_does_not_vote(date):
  found = Lineages(
    strains=list('abc'),
    genomes=[],
    clades=np.array(list('xxx')),
    dates=np.array(['2020-03-05', '2020-03-06', date]),
    countries=np.array(list('PQR')),
  )
  votes = lineages.may_vote(found)
  assert votes[0].tolist() == [False, True, False]
  assert not votes[2].any()


def test_columns_count_alike_and_constant_ones_not_at_all():
  features = np.array([[0, 100, 7], [1, 0, 7], [0, 100, 7], [1, 0, 7.0]])
  distance = lineages.distances(features)
  np.testing.assert_allclose(distance[0, 2], 0, atol=1e-9)
  np.testing.assert_allclose(distance[0, 1], 2)


@pytest.fixture
def files(tmp_path):
  """Two clades that differ in one stretch; 8 genomes of 600 bases."""
  rng = np.random.default_rng(0)
  common = rng.integers(0, 4, 600)
  of_clade = {clade: rng.integers(0, 4, 60) for clade in 'xy'}
  rows = {'fasta': [], 'clades': [], 'metadata': []}
  rows['clades'].append('strain\tnextstrain_clade_by_rule')
  rows['metadata'].append('strain\tdate\tcountry')
  for index in range(8):
    clade = 'xy'[index % 2]
    genome = common.copy()
    genome[200:260] = of_clade[clade]
    genome[rng.integers(0, 600)] ^= 1
    letters = ''.join('ACGT'[base] for base in genome)
    rows['fasta'] += [f'>s{index}', letters]
    rows['clades'].append(f's{index}\t{clade}')
    rows['metadata'].append(f's{index}\t2020-01-0{index + 1}\tC{index}')
  paths = {}
  for name, lines in rows.items():
    paths[name] = tmp_path / name
    paths[name].write_text('\n'.join(lines) + '\n')
  return paths


def test_a_report_tells_the_clades_apart(files, tmp_path, capsys):
  vocabulary, _, _ = write(LEARNINGS['two levels'], tmp_path)
  arguments = [f'--{name}={path}' for name, path in files.items()]
  out = tmp_path / 'out'
  code = lineages.main(
    ['lineages', *arguments, f'--vocabulary={vocabulary}', f'--out={out}']
  )
  assert code == 0
  rows = json.loads((out / 'lineages.json').read_text())
  found = {row['embedding']: row['accuracy'] for row in rows}
  assert found['6-mers'] == found['level 1'] == found['level 2'] == 1.0
  # Of the seven others four are of the other clade.
  assert found['commonest clade'] == 0.0
  assert found.keys() >= {'level 1', 'level 2', 'one-hot'}
  assert (out / 'lineages.png').stat().st_size > 10_000
  assert len(list(out.iterdir())) == 3
  assert '| 6-mers | 1.000 [1.000, 1.000] |' in capsys.readouterr().out


def test_genomes_of_one_country_cannot_vote(files, tmp_path, capsys):
  text = files['metadata'].read_text()
  for index in range(8):
    text = text.replace(f'\tC{index}', '\tC')
  files['metadata'].write_text(text)
  vocabulary, _, _ = write(LEARNINGS['two levels'], tmp_path)
  arguments = [f'--{name}={path}' for name, path in files.items()]
  code = lineages.main(
    ['lineages', *arguments, f'--vocabulary={vocabulary}', '--out=o']
  )
  assert code == 2
  assert 'no two genomes are of different days' in capsys.readouterr().err


def test_a_folder_that_cannot_be_is_one_line(files, tmp_path, capsys):
  vocabulary, _, _ = write(LEARNINGS['two levels'], tmp_path)
  arguments = [f'--{name}={path}' for name, path in files.items()]
  (tmp_path / 'taken').write_text('a file')
  code = lineages.main(
    [
      'lineages',
      *arguments,
      f'--vocabulary={vocabulary}',
      f'--out={tmp_path / "taken"}',
    ]
  )
  assert code == 2
  assert capsys.readouterr().err.startswith('error: ')


def test_what_is_missing_is_one_line(files, tmp_path, capsys):
  arguments = [f'--{name}={path}' for name, path in files.items()]
  code = lineages.main(
    ['lineages', *arguments, f'--vocabulary={tmp_path}', f'--out={tmp_path}']
  )
  assert code == 2
  assert 'no vocabulary here' in capsys.readouterr().err
  assert lineages.main(['lineages']) == 2
  assert 'usage' in capsys.readouterr().err
