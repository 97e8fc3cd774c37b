"""Builds in stages: killed and gone on with, by Beam, in shards of a size."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from tensorflow_datasets.core.utils import shard_utils

from data_pipelines import build
from data_pipelines.builders import annotated_genome, omics, runners, units
from data_pipelines.errors import InputError
from tests.real_data import data_path

BEAM = (
  '--runner=DirectRunner',
  '--beam_options=--direct_num_workers=2,--direct_running_mode=multi_processing',
)


def write_genome(folder, lengths=(30_000, 20_000, 9_001)):
  """FASTA with repeats, gaps and contigs of these lengths."""
  rng = np.random.default_rng(0)
  lines = []
  for number, length in enumerate(lengths):
    letters = rng.choice(list('ACGTacgt'), length)
    letters[3_000:5_500] = 'N'
    lines += [f'>c{number}', ''.join(letters)]
  path = folder / 'genome.fa'
  path.write_text('\n'.join(lines) + '\n')
  return path


def genome_of(path, **changes):
  return annotated_genome.Genome('x', fasta=path, window=1_000, **changes)


def checksums(folder):
  return {
    split: [shard['sha256'] for shard in found['shards']]
    for split, found in omics.load_manifest(folder)['splits'].items()
  }


def names(folder, split='train'):
  return [row['name'] for row in omics.open_split(folder, split)]


@pytest.fixture
def small_units(monkeypatch):
  monkeypatch.setattr(units, '_WINDOWS', 7)


def test_windows_of_all_units_are_those_of_one(tmp_path, monkeypatch):
  genome = genome_of(write_genome(tmp_path))
  annotated_genome.build(genome, tmp_path / 'one', overwrite=False)
  monkeypatch.setattr(units, '_WINDOWS', 7)
  annotated_genome.build(genome, tmp_path / 'many', overwrite=False)
  one, many = tmp_path / 'one/x', tmp_path / 'many/x'
  assert names(one) == names(many)
  assert checksums(one) == checksums(many)
  rejects = [folder / '1.0.0/rejects.tsv' for folder in (one, many)]
  assert rejects[0].read_text() == rejects[1].read_text()
  # Windows 3,000 to 5,000 of each contig are gaps.
  assert rejects[0].read_text().count('only_n') == 6


def test_shards_have_a_size(tmp_path, monkeypatch, small_units):
  genome = genome_of(write_genome(tmp_path, (60_000, 9_000, 8_000)))
  annotated_genome.build(genome, tmp_path / 'one', overwrite=False)
  monkeypatch.setattr(
    shard_utils.ShardConfig, 'get_number_shards', lambda *_: 5
  )
  annotated_genome.build(genome, tmp_path / 'five', overwrite=False)
  one, five = tmp_path / 'one/x', tmp_path / 'five/x'
  assert len(checksums(five)['train']) == 5
  assert names(one) == names(five)
  left, right = (omics.open_split(folder, 'train') for folder in (one, five))
  for a, b in zip(left, right, strict=True):
    assert all(np.array_equal(a[field], b[field]) for field in omics.FIELDS)
  omics.verify(five)


class Stopped(BaseException):
  """As if the process had been killed."""


def test_a_build_goes_on_where_it_was_stopped(tmp_path, small_units):
  genome = genome_of(write_genome(tmp_path))
  annotated_genome.build(genome, tmp_path / 'whole', overwrite=False)
  done = []

  def until(limit):
    def run(work, paths, stage):
      for path in paths:
        if len(done) == limit:
          raise Stopped
        done.append((stage, path))
        work(path)

    return run

  for limit in (3, 6, 10, None):
    try:
      annotated_genome.build(
        genome, tmp_path / 'parts', overwrite=False, run=until(limit)
      )
    except Stopped:
      assert not (tmp_path / 'parts/x').exists()
  # Nothing twice, but what was being made.
  assert len(done) == len(set(done))
  assert checksums(tmp_path / 'parts/x') == checksums(tmp_path / 'whole/x')
  assert [path.name for path in (tmp_path / 'parts').iterdir()] == ['x']


def test_another_build_begins_anew(tmp_path, small_units):
  path = write_genome(tmp_path)

  def stop(work, paths, stage):
    for plan in paths[:3]:
      work(plan)
    raise Stopped

  with pytest.raises(Stopped):
    annotated_genome.build(
      genome_of(path), tmp_path / 'a', overwrite=False, run=stop
    )
  assert (tmp_path / 'a/.x.building').exists()
  other = genome_of(path, genetic_code='11')
  annotated_genome.build(other, tmp_path / 'a', overwrite=False)
  annotated_genome.build(other, tmp_path / 'b', overwrite=False)
  assert checksums(tmp_path / 'a/x') == checksums(tmp_path / 'b/x')


def test_a_wrong_input_leaves_nothing(tmp_path):
  path = write_genome(tmp_path)
  path.write_text(path.read_text() + '>c9\nACGJ\n')
  with pytest.raises(InputError, match="'c9', position 4: illegal letter 'J'"):
    annotated_genome.build(genome_of(path), tmp_path / 'a', overwrite=False)
  assert not list((tmp_path / 'a').iterdir())


def test_two_builds_of_one_name_at_once_are_one_line(tmp_path):
  genome = genome_of(write_genome(tmp_path))

  def build_again(work, paths, stage):
    annotated_genome.build(genome, tmp_path / 'a', overwrite=False)

  with pytest.raises(InputError, match='another process is building x'):
    annotated_genome.build(
      genome, tmp_path / 'a', overwrite=False, run=build_again
    )


def test_a_killed_command_goes_on(tmp_path):
  path = write_genome(tmp_path, (700_000, 60_000, 60_000))
  command = [sys.executable, '-m', 'data_pipelines.build', 'omics']
  command += [f'--fasta={path}', f'--out={tmp_path / "a"}', '--name=x']
  command += ['--window=60']
  process = subprocess.Popen(command, start_new_session=True)
  made = tmp_path / 'a/.x.building/units/000000/made.pickle'
  for _ in range(6_000):
    if made.exists() or process.poll() is not None:
      break
    time.sleep(0.01)
  os.killpg(process.pid, signal.SIGKILL)
  assert process.wait() == -signal.SIGKILL
  first = made.stat().st_mtime_ns
  genome = annotated_genome.Genome('x', fasta=path, window=60)
  seen = []

  def run(work, paths, stage):
    seen.append(made.stat().st_mtime_ns)
    runners.here(work, paths, stage)

  annotated_genome.build(genome, tmp_path / 'a', overwrite=False, run=run)
  assert set(seen) == {first}
  annotated_genome.build(genome, tmp_path / 'b', overwrite=False)
  assert checksums(tmp_path / 'a/x') == checksums(tmp_path / 'b/x')


@pytest.mark.parametrize('organism', ['ecoli', 'yeast'])
def test_beam_writes_the_same_files(tmp_path, capsys, organism):
  folder = data_path('ecoli_k12' if organism == 'ecoli' else 'yeast_s288c')
  names_of = {
    'ecoli': ('*genomic.fna.gz', '*genomic.gff.gz', '*protein.faa.gz'),
    'yeast': ('S288C.genome.fa.gz', 'S288C.all_feature.gff.gz', 'S288C.pep*'),
  }[organism]
  files = [next(folder.glob(name)) for name in names_of]
  arguments = ['build', 'omics', f'--name={organism}']
  for role, file in zip(('fasta', 'gff', 'proteins'), files, strict=True):
    arguments.append(f'--{role}={file}')
  arguments.append(f'--genetic_code={11 if organism == "ecoli" else 1}')
  for out, extra in (('here', ()), ('beam', BEAM)):
    assert build.main([*arguments, f'--out={tmp_path / out}', *extra]) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary['peak_gigabytes'] > 0 and summary['bases_per_second'] > 0
  here, beam = (tmp_path / out / organism / '1.0.0' for out in ('here', 'beam'))
  files = sorted(file.name for file in here.iterdir())
  assert files == sorted(file.name for file in beam.iterdir())
  for file in files:
    assert (here / file).read_bytes() == (beam / file).read_bytes(), file


@pytest.mark.parametrize(
  ('extra', 'error'),
  [
    (('--beam_options=--direct_num_workers=2',), 'are of a --runner'),
    (('--runner=SomeRunner',), 'Unexpected pipeline runner: SomeRunner'),
    (
      ('--runner=DirectRunner', '--beam_options=--nonsense=3'),
      'Beam has no such option',
    ),
  ],
)
def test_wrong_options_of_beam_are_one_line(tmp_path, capsys, extra, error):
  path = write_genome(tmp_path)
  arguments = ['build', 'omics', f'--fasta={path}', f'--out={tmp_path / "a"}']
  assert build.main([*arguments, *extra]) == 2
  err = capsys.readouterr().err
  assert error in err and err.count('\n') == 1 and err.startswith('error: ')
