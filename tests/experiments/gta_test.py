"""The experiment files of GTA, run as users run them, small."""

import csv
import json

import numpy as np
import pytest

from data_pipelines.genes import features
from data_pipelines.genes.tabled import TabledGenes
from experiments import command_line, common
from experiments.gta import controls, human, yeast
from tests.experiments.commands import ROOT, run
from tests.real_data import data_path

SMOKED = {'enhancers', 'human', 'tracks', 'yeast'}
STORIES = 'tiny_lm_stories260k'


def test_every_experiment_has_a_smoke_run():
  folder = ROOT / 'experiments' / 'gta'
  found = {path.stem for path in folder.glob('[a-z]*.py')}
  assert found - {'controls'} == SMOKED


@pytest.mark.parametrize(
  ('file', 'arg'),
  [
    *(('yeast', f'cpu,{control}') for control in controls.CONTROLS),
    *(('human', f'llama3_8b,{control}') for control in human.CONTROLS),
    ('human', 'gpt2'),
    ('human', 'llama3_1b'),
    ('enhancers', 'cpu,1024'),
    ('tracks', 'cpu,enformer'),
  ],
)
def test_every_arm_can_be_built(file, arg):
  path = ROOT / 'experiments' / 'gta' / f'{file}.py'
  config = {
    **command_line.DEFAULTS,
    **command_line.load_config(str(path), arg).to_dict(),
  }
  command_line.validate(config)
  common.build(config['optimizer'], 'config.optimizer')
  objective = dict(config['objective'])
  if 'language' in objective:
    objective['language'] = {**objective['language'], 'weights': 'llama3_1b'}
  common.build(objective, 'config.objective')


def _columns(workdir):
  rows = json.loads((workdir / 'results.json').read_text())
  return {row['column'] for row in rows}


def test_yeast_runs(tmp_path):
  folder, words = data_path('yeast_s288c'), data_path(STORIES)
  run('gta/yeast.py:smoke', tmp_path, **yeast.point_at(folder, words))
  assert _columns(tmp_path) == {'trained', 'random_weights'}


def test_tracks_run(tmp_path):
  folder = data_path('borzoi_windows')
  changes = {
    f'data.genomes.{genome}.path': folder / name
    for genome, name in (('human', 'hg38'), ('mouse', 'mm10'))
  }
  run('gta/tracks.py:smoke', tmp_path, **changes)
  assert _columns(tmp_path) == {'trained', 'ridge'}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """What `human.point_at` names, small and drawn, but for the language."""
  folder = tmp_path_factory.mktemp('human')
  rng = np.random.default_rng(0)
  genes = []
  with (folder / 'genome.fa.gz').open('w') as file:
    for contig in range(5):
      bases = ''.join(rng.choice([*'ACGT'], 3_000))
      file.write(f'>chr{contig}\n{bases}\n')
      genes += [(f'g{contig}{i}', f'chr{contig}', 300 * i) for i in range(1, 6)]
  with (folder / 'genes.csv').open('w', newline='') as file:
    writer = csv.writer(file)
    writer.writerow(('gene', 'contig', 'tss', 'strand', 'value'))
    for gene, contig, start in genes:
      writer.writerow((gene, contig, start, '-', round(rng.normal(), 3)))
  lines = [f'{gene}\tIt does something.\n' for gene, *_ in genes]
  (folder / 'texts.tsv').write_text('gene\ttext\n' + ''.join(lines))
  files = [str(folder / name) for name in ('genome.fa.gz', 'genes.csv')]
  features.write(folder / 'features', TabledGenes(*files)(), Drawn())
  return folder


class Drawn:
  """As many numbers as Enformer gives."""

  label, rows = 'drawn', 8
  before = after = 98_304
  first, section_bases = 40_960, 1_024

  def __call__(self, genes, sequences):
    rng = np.random.default_rng(0)
    return rng.normal(size=(len(sequences), 112, 3_072))


@pytest.mark.parametrize('arg', ['smoke', 'smoke,attention_pool'])
def test_human_genes_run_on_features_of_enformers_shape(folder, tmp_path, arg):
  words = data_path(STORIES)
  changes = {
    **human.point_at(folder),
    'objective.language.weights': words / 'stories260K.bin',
    'data.tokenizer.name': 'gta.language.frozen:Llama2CTokenizer',
    'data.tokenizer.path': words / 'tok512.bin',
  }
  run(f'gta/human.py:{arg}', tmp_path, **changes)
  assert _columns(tmp_path) == {'trained', 'random_weights'}
