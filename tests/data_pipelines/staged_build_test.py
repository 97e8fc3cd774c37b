"""Builds in stages: killed and gone on with, by Beam, in shards of a size."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tensorflow_datasets.core.utils import shard_utils

from data_pipelines import build
from data_pipelines.builders import (
  alike,
  annotated_genome,
  omics,
  runners,
  staged,
  units,
)
from data_pipelines.builders.splits import SplitConfig
from data_pipelines.errors import InputError
from tests.real_data import data_path

BEAM = (
  '--runner=DirectRunner',
  '--beam_option=--direct_num_workers=2',
  '--beam_option=--direct_running_mode=multi_processing',
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
  monkeypatch.setattr(units, '_BASES', 7_000)


def test_windows_of_all_units_are_those_of_one(tmp_path, monkeypatch):
  genome = genome_of(write_genome(tmp_path))
  annotated_genome.build(genome, tmp_path / 'one', overwrite=False)
  monkeypatch.setattr(units, '_BASES', 7_000)
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


def test_what_a_killed_worker_left_is_not_published(tmp_path, small_units):
  genome = genome_of(write_genome(tmp_path))

  def run(work, paths, stage):
    for path in paths:
      work(path)
    if stage == 'shards' and not left:
      directory = tmp_path / 'a/.x.building/whole/x/1.0.0'
      left.append(directory / '.x-train.array_record-0.abc.unfinished')
      left[0].write_text('half')
      raise Stopped

  left = []
  with pytest.raises(Stopped):
    annotated_genome.build(genome, tmp_path / 'a', overwrite=False, run=run)
  assert left[0].exists()
  annotated_genome.build(genome, tmp_path / 'a', overwrite=False)
  assert not list((tmp_path / 'a').rglob('*unfinished*'))
  omics.verify(tmp_path / 'a/x')


def test_half_of_a_stage_is_not_trusted(tmp_path, small_units, monkeypatch):
  genome = genome_of(write_genome(tmp_path))

  def removed(folder, ignore_errors=False):
    # Killed while it removes: a piece is gone, what vouches for it is not.
    for piece in Path(folder).glob('units/*/train'):
      piece.unlink()
    raise Stopped

  with monkeypatch.context() as patch:
    patch.setattr(staged.shutil, 'rmtree', removed)
    with pytest.raises(Stopped):
      annotated_genome.build(genome, tmp_path / 'a', overwrite=False)
  annotated_genome.build(genome, tmp_path / 'a', overwrite=False)
  omics.verify(tmp_path / 'a/x')
  counted = omics.load_manifest(tmp_path / 'a/x')['splits']['train']['records']
  assert counted == len(names(tmp_path / 'a/x'))


def test_a_mistake_in_a_part_ends_the_build_at_once(tmp_path, small_units):
  genome = genome_of(write_genome(tmp_path))
  made = []

  def run(work, paths, stage):
    (tmp_path / 'a/.x.building/error.txt').write_text('c0: wrong')
    for path in paths:
      work(path)
      made.append(Path(path).parent / 'made.pickle')
    assert not any(path.exists() for path in made)

  with pytest.raises(InputError, match='c0: wrong'):
    annotated_genome.build(genome, tmp_path / 'a', overwrite=False, run=run)


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
    (('--beam_option=--direct_num_workers=2',), 'is of a --runner'),
    (('--runner=SomeRunner',), 'Unexpected pipeline runner: SomeRunner'),
    (
      ('--runner=DirectRunner', '--beam_option=--nonsense=3'),
      "unparseable args: ['--nonsense=3']",
    ),
  ],
)
def test_wrong_options_of_beam_are_one_line(tmp_path, capsys, extra, error):
  path = write_genome(tmp_path)
  arguments = ['build', 'omics', f'--fasta={path}', f'--out={tmp_path / "a"}']
  assert build.main([*arguments, *extra]) == 2
  err = capsys.readouterr().err
  assert error in err and err.count('\n') == 1 and err.startswith('error: ')


def mutated(rng, letters, rate):
  other = letters.copy()
  places = rng.random(len(letters)) < rate
  other[places] = rng.choice(list('ACGT'), places.sum())
  return other


def reverse_complement(letters):
  return np.array([dict(zip('ACGT', 'TGCA', strict=True))[x] for x in letters])[
    ::-1
  ]


@pytest.fixture
def repeats(tmp_path):
  """Windows of 1,000: copies and relatives, within train and across splits."""
  rng = np.random.default_rng(0)
  train, held_out = rng.choice(list('ACGT'), (2, 20, 1_000))
  train[5] = train[2]
  train[7] = reverse_complement(train[2])
  train[9] = mutated(rng, train[2], 0.01)
  train[11] = mutated(rng, train[2], 0.3)
  train[13] = mutated(rng, held_out[3], 0.01)
  held_out[8] = held_out[3]
  other = rng.choice(list('ACGT'), 3_000)
  lines = []
  for name, letters in zip('abc', (train, held_out, other), strict=True):
    lines += [f'>{name}', ''.join(letters.ravel())]
  path = tmp_path / 'genome.fa'
  path.write_text('\n'.join(lines) + '\n')
  return path


def rejects_of(folder):
  lines = (folder / '1.0.0/rejects.tsv').read_text().splitlines()[1:]
  return {line.split('\t')[0]: line.split('\t')[2] for line in lines}


@pytest.mark.parametrize('windows', [7, 4_096])
@pytest.mark.parametrize('buckets', [1, 4])
def test_what_is_alike_is_left_out(
  tmp_path, monkeypatch, repeats, windows, buckets
):
  monkeypatch.setattr(units, '_BASES', 1_000 * windows)
  monkeypatch.setattr(alike, '_BASES_PER_BUCKET', 43_000 // buckets + 1)
  arguments = ['build', 'omics', f'--fasta={repeats}', '--name=x']
  arguments += ['--window=1000', '--validation_contigs=b', '--test_contigs=c']
  shares = '--near_duplicates=0.5', '--homology=0.5'
  assert build.main([*arguments, f'--out={tmp_path / "a"}', *shares]) == 0
  wanted = dict.fromkeys(('a:5', 'a:7', 'a:9', 'b:8'), 'near_duplicate')
  wanted['a:13'] = 'like_held_out'
  found = rejects_of(tmp_path / 'a/x')
  assert {
    name.partition('000-')[0]: reason for name, reason in found.items()
  } == wanted
  kept = names(tmp_path / 'a/x')
  assert kept == [
    f'a:{i}000-{i + 1}000'.replace('a:0000', 'a:0')
    for i in range(20)
    if i not in (5, 7, 9, 13)
  ]
  manifest = omics.load_manifest(tmp_path / 'a/x')
  assert manifest['splits']['train']['bases'] == 16_000
  omics.verify(tmp_path / 'a/x')


def test_proteins_that_are_alike_are_told_by_residues(tmp_path):
  rng = np.random.default_rng(0)
  letters = rng.choice(list('ACDEFGHIKLMNPQRSTVWY'), 300)
  other = letters.copy()
  other[150] = 'A' if letters[150] != 'A' else 'C'
  path = write_genome(tmp_path)
  proteins = tmp_path / 'proteins.fa'
  proteins.write_text(
    ''.join(f'>p{i}\n{"".join(p)}\n' for i, p in enumerate((letters, other)))
  )
  genome = annotated_genome.Genome(
    'x',
    fasta=path,
    proteins=proteins,
    alike=alike.Alike(near_duplicates=0.9),
    held_out=SplitConfig(validation=0.0, test=0.0),
  )
  annotated_genome.build(genome, tmp_path / 'a', overwrite=False)
  # Of an equal minimizer in twelve, all but those around one residue.
  assert rejects_of(tmp_path / 'a/x') == {'protein-p1': 'near_duplicate'}


def test_a_share_of_nothing_is_one_line(tmp_path, capsys):
  arguments = ['build', 'omics', '--fasta=x.fa', f'--out={tmp_path}']
  assert build.main([*arguments, '--near_duplicates=0']) == 2
  err = capsys.readouterr().err
  assert (
    err == 'error: --near_duplicates=0.0: give a share above 0, at most 1\n'
  )


def test_control_c_is_one_line(tmp_path, capsys, monkeypatch):
  def interrupt(work, paths, stage):
    raise KeyboardInterrupt

  monkeypatch.setattr(runners, 'here', interrupt)
  arguments = ['build', 'omics', f'--fasta={write_genome(tmp_path)}']
  assert build.main([*arguments, f'--out={tmp_path / "a"}']) == 130
  said = capsys.readouterr().err.splitlines()[-1]
  assert said == 'error: stopped; the same command goes on from there'
