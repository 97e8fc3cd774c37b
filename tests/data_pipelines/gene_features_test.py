"""Features of windows as shards, and genes of tables."""

import dataclasses
import json

import numpy as np
import pytest

from data_pipelines.errors import InputError
from data_pipelines.genes import features
from data_pipelines.genes.dataset import GeneWindows
from data_pipelines.genes.features import WindowFeatures
from data_pipelines.genes.folds import ChromosomeFold
from data_pipelines.genes.tabled import TabledGenes
from data_pipelines.genes.text import TextTable
from tests.gta import tiny


@dataclasses.dataclass
class Counts:
  """Counts of A C G T N in each of five sections in the middle."""

  label: str = 'counts'
  before: int = 48
  after: int = 96
  first: int = 12
  section_bases: int = 24
  rows: int = 7
  calls: int = 0

  def __call__(self, genes, sequences):
    self.calls += 1
    parts = sequences[:, 12:132].reshape(len(sequences), 5, -1)
    return np.stack([(parts == base).sum(-1) for base in range(5)], -1) / 1.0


@pytest.fixture
def folder(tmp_path):
  features.write(tmp_path / 'features', tiny.genes(), Counts())
  return tmp_path / 'features'


def _windows(folder, **changes):
  settings = {
    'genes': tiny.genes,
    'split': ChromosomeFold(num_folds=3),
    'before': 48,
    'after': 96,
    'features': WindowFeatures(str(folder)),
  }
  return GeneWindows(**{**settings, **changes})


def test_batches_have_the_features_of_their_windows(folder):
  batch = _windows(folder).batch(np.arange(60))
  plain = _windows(folder, features=None).batch(np.arange(60))
  wanted = Counts()([], plain['sequence'])
  np.testing.assert_array_equal(batch['features'], wanted)
  inside = plain['segment_ids'][:, 12:132].reshape(60, 5, -1).any(-1)
  assert not inside.all()
  np.testing.assert_array_equal(batch['segment_ids'], inside)
  assert 'sequence' not in batch


def test_features_of_other_windows_are_never_taken(folder):
  with pytest.raises(InputError, match='no features of the window of g0'):
    _windows(folder, before=45, after=99).batch(np.arange(1))
  with pytest.raises(InputError, match='has features of other windows'):
    features.write(folder, tiny.genes(seed=1), Counts())
  with pytest.raises(InputError, match=r'has features of .* of counts;'):
    features.write(folder, tiny.genes(), Counts(label='others'))


def test_a_stopped_extraction_goes_on(tmp_path, monkeypatch):
  monkeypatch.setattr(features, '_GENES_PER_SHARD', 16)
  out, whole = tmp_path / 'features', Counts()
  features.write(tmp_path / 'whole', tiny.genes(), whole)

  class Stops(Counts):
    def __call__(self, genes, sequences):
      if self.calls == 5:
        raise KeyboardInterrupt
      return super().__call__(genes, sequences)

  with pytest.raises(KeyboardInterrupt):
    features.write(out, tiny.genes(), Stops())
  with pytest.raises(InputError, match='no finished features'):
    _ = WindowFeatures(str(out)).manifest
  rest = Counts()
  features.write(out, tiny.genes(), rest)
  assert 0 < rest.calls < whole.calls
  found = _windows(out).batch(np.arange(60))['features']
  wanted = _windows(tmp_path / 'whole').batch(np.arange(60))['features']
  np.testing.assert_array_equal(found, wanted)
  assert not list(out.glob('*tmp*'))
  again = Counts()
  features.write(out, tiny.genes(), again)
  assert not again.calls


def test_damaged_shards_are_refused(folder):
  path = folder / 'features-00000.npy'
  content = bytearray(path.read_bytes())
  content[-1] ^= 1
  path.write_bytes(content)
  with pytest.raises(InputError, match=r'00000\.npy: missing or corrupted'):
    _ = WindowFeatures(str(folder)).manifest
  manifest = json.loads((folder / 'features.json').read_text())
  manifest['format_version'] = 0
  (folder / 'features.json').write_text(json.dumps(manifest))
  with pytest.raises(InputError, match='format 0, this code reads 2'):
    _ = WindowFeatures(str(folder)).manifest


def _table(tmp_path, *rows):
  (tmp_path / 'genome.fa').write_text('>1\n' + 'ACGT' * 10 + '\n')
  path = tmp_path / 'genes.csv'
  lines = ['gene,contig,tss,strand,value', *rows]
  path.write_text('\n'.join(lines) + '\n')
  return TabledGenes(str(tmp_path / 'genome.fa'), str(path))


def test_genes_of_a_table(tmp_path):
  found = _table(tmp_path, 'a,1,1,+,0.5', 'b,1,40,-1,2')()
  assert [(g.name, g.anchor, g.strand, g.value) for g in found.genes] == [
    ('a', 0, 1, 0.5),
    ('b', 39, -1, 2.0),
  ]


@pytest.mark.parametrize(
  ('rows', 'message'),
  [
    (('a,1,41,+,0',), 'a: starts at base 41 of 1, which has 40'),
    (('a,2,4,+,0',), "contig '2' is not in"),
    (('a,1,4,.,0',), "strand '.'"),
    (('a,1,4,+,0', 'a,1,5,+,0'), ':3: gene a has another row'),
    ((), 'no gene in it'),
  ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path, rows, message):
  with pytest.raises(InputError, match=message):
    _table(tmp_path, *rows)()


def test_a_gene_of_a_table_needs_its_text(tmp_path):
  genes = _table(tmp_path, 'a,1,4,+,0')
  (tmp_path / 'texts.tsv').write_text('gene\ttext\nb\tbinds\n')
  texts = TextTable(str(tmp_path / 'texts.tsv'), 'gene', ('text',))
  with pytest.raises(InputError, match='gene a has no text'):
    dataclasses.replace(genes, texts=texts)()
