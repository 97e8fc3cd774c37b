"""Sections of genes by frozen trunks, and by other models' own code."""

import jax
import numpy as np
import pytest

from data_pipelines.errors import InputError
from data_pipelines.genes.features import WindowFeatures
from data_pipelines.genes.gene import cut
from data_pipelines.genes.tabled import TabledGenes
from gta import enformer_weights, extract
from gta.enformer import Enformer, EnformerConfig
from gta.saved_bins import SavedBins

SMALL = EnformerConfig(
  num_bases=128,
  width=16,
  tower=(8, 12, 16),
  num_layers=1,
  num_heads=2,
  key_width=4,
  num_targets=4,
  num_position_features=12,
)
NAMES = 'a', 'b', 'c'


@pytest.fixture
def arguments(tmp_path):
  rng = np.random.default_rng(0)
  bases = ''.join(rng.choice([*'ACGT'], 400))
  (tmp_path / 'genome.fa').write_text(f'>1\n{bases}\n')
  (tmp_path / 'genes.csv').write_text(
    'gene,contig,tss,strand,value\na,1,200,+,1\nb,1,150,-,2\nc,1,10,+,3\n'
  )
  files = {'genome': 'genome.fa', 'genes': 'genes.csv', 'out': 'features'}
  return [f'--{name}={tmp_path / file}' for name, file in files.items()]


def _genes(tmp_path):
  files = (str(tmp_path / name) for name in ('genome.fa', 'genes.csv'))
  return TabledGenes(*files)()


def test_sections_are_means_of_what_enformer_says(tmp_path, monkeypatch):
  model = Enformer(SMALL, key=jax.random.key(0))
  monkeypatch.setattr(enformer_weights, 'load', lambda path, config: model)
  extractor = extract.EnformerExtractor('w', section_bins=2, config=SMALL)
  sequences = np.random.default_rng(0).integers(0, 4, (2, 128))
  found = extractor(['a', 'b'], sequences.astype(np.uint8))
  bins = model.features(jax.nn.one_hot(sequences, 4))
  wanted = np.asarray(bins).reshape(2, 2, 2, -1).mean(2)
  np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
  # Bins of 16 bases, of which the middle four of eight are kept.
  assert (extractor.before, extractor.after) == (64, 64)
  assert (extractor.first, extractor.section_bases) == (32, 32)


def test_bins_of_another_model_become_sections(tmp_path, arguments):
  rng = np.random.default_rng(0)
  bins = {name: rng.normal(size=(8, 3)) for name in NAMES}
  (tmp_path / 'bins').mkdir()
  for name, values in bins.items():
    np.save(tmp_path / 'bins' / f'{name}.npy', values)
  more = [f'--bins={tmp_path / "bins"}', '--model=borzoi fold 0']
  sizes = ['--bin_size=4', '--section_bins=2']
  assert extract.main([*arguments, *more, *sizes]) == 0
  found, genes = WindowFeatures(str(tmp_path / 'features')), _genes(tmp_path)
  for gene in genes.genes:
    window = cut(genes, gene, 16, 16)
    wanted = bins[gene.name].reshape(4, 2, 3).mean(1)
    sections = found.of(window.sequence, gene.name)
    np.testing.assert_allclose(sections, wanted, atol=2e-3)
  assert found.manifest['extractor'].startswith('borzoi fold 0')


def test_bins_that_are_not_there_are_one_line(tmp_path, arguments, capsys):
  folder = tmp_path / 'bins'
  folder.mkdir()
  more = [f'--bins={folder}', '--model=m', '--section_bins=2']
  assert extract.main([*arguments, *more]) == 2
  assert f'{folder}: no GENE.npy in it' in capsys.readouterr().err
  for name in NAMES[:2]:
    np.save(folder / f'{name}.npy', np.zeros((8, 3)))
  assert extract.main([*arguments, *more]) == 2
  assert 'c.npy: cannot be read' in capsys.readouterr().err
  np.save(folder / 'c.npy', np.zeros((8, 2)))
  with pytest.raises(InputError, match=r'c\.npy: shape \(8, 2\)'):
    SavedBins(str(folder), 'm', section_bins=2)(
      NAMES, np.zeros((3, 1), np.uint8)
    )
  np.save(folder / 'a.npy', np.zeros((6, 3)))
  with pytest.raises(InputError, match=r'give \[M, D\], M a multiple of 4'):
    SavedBins(str(folder), 'm', section_bins=2)
