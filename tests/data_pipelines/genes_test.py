"""Genes: windows, splits, texts, prompts."""

import dataclasses
import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipelines import central_dogma, records
from data_pipelines.errors import InputError
from data_pipelines.genes.annotated import AnnotatedGenes
from data_pipelines.genes.dataset import GeneWindows
from data_pipelines.genes.folds import ChromosomeFold, Regions
from data_pipelines.genes.gene import Gene, GeneSet, cut
from data_pipelines.genes.text import (
  SGDFeatures,
  TextTable,
  without_expression,
)
from tests.gta import tiny

GENES = tiny.genes()


@given(
  number=st.integers(0, len(GENES.genes) - 1),
  before=st.integers(0, 200),
  after=st.integers(1, 200),
)
def test_a_window_is_of_the_strand_and_knows_the_codons(number, before, after):
  gene = GENES.genes[number]
  window = cut(GENES, gene, before, after)
  assert window.sequence.size == before + after
  contig = GENES.contigs[gene.contig]
  # Base i of the window, one by one.
  at = gene.anchor + gene.strand * np.arange(-before, after)
  inside = (at >= 0) & (at < contig.size)
  np.testing.assert_array_equal(window.is_inside, inside)
  letters = contig[at[inside]]
  expected = letters if gene.strand > 0 else 3 - letters
  np.testing.assert_array_equal(window.sequence[inside], expected)
  assert (window.sequence[~inside] == 4).all()
  phase_of = {}
  for start, end in gene.coding:
    part = (
      range(start, end) if gene.strand > 0 else range(end - 1, start - 1, -1)
    )
    for base in part:
      phase_of[base] = len(phase_of) % 3
  phases = [phase_of.get(base, records.PHASE_NONE) for base in at.tolist()]
  np.testing.assert_array_equal(window.codon_phase, phases)


def test_coding_sequences_are_spliced_on_their_strand():
  for gene in GENES.genes:
    coding = GENES.coding_sequence(gene)
    window = cut(GENES, gene, 0, 120)
    is_coding = window.codon_phase != records.PHASE_NONE
    np.testing.assert_array_equal(coding, window.sequence[is_coding])


def test_a_gene_beyond_its_contig_is_refused():
  gene = dataclasses.replace(GENES.genes[0], anchor=6_000)
  with pytest.raises(InputError, match=r'g0: starts at base 6,001 of chr0'):
    GeneSet(GENES.contigs, [gene])


@pytest.mark.parametrize('fold', range(3))
def test_no_chromosome_and_no_paralogue_is_on_both_sides(fold):
  genes = dataclasses.replace(
    GENES,
    genes=[
      dataclasses.replace(gene, cluster=f'c{number // 2}')
      for number, gene in enumerate(GENES.genes)
    ],
  )
  split = ChromosomeFold(fold=fold, num_folds=3)(genes)
  of = {
    name: [g for g, s in zip(genes.genes, split, strict=True) if s == name]
    for name in ('train', 'validation', 'test', '')
  }
  assert all(of.values())
  chromosomes = {g.contig for g in of['test']}
  assert not chromosomes & {g.contig for g in of['train'] + of['validation']}
  clusters = [{g.cluster for g in of[name]} for name in of if name]
  for i, one in enumerate(clusters):
    for other in clusters[i + 1 :]:
      assert not one & other
  assert all(g.cluster in {t.cluster for t in of['test']} for g in of[''])


def test_folds_test_every_gene_once():
  tested = sum(
    (ChromosomeFold(fold=fold, num_folds=3)(GENES) == 'test').astype(int)
    for fold in range(3)
  )
  assert (tested == 1).all()


@pytest.mark.parametrize(
  ('text', 'kept'),
  [
    (
      'Kinase; highly expressed in stationary phase; binds A.',
      'Kinase; binds A.',
    ),
    ('Broad expression in testis (RPKM 3.1). Binds DNA.', 'Binds DNA.'),
    ('Ubiquitous in all tissues', ''),
    ('ABC1. Up-regulated in heat; binds A', 'ABC1. binds A'),
    ('Subunit of the ribosome', 'Subunit of the ribosome'),
    ('Gene induced by heat; chaperone', 'chaperone'),
  ],
)
def test_sentences_about_expression_are_left_out(text, kept):
  assert without_expression(text) == kept


def _windows(**changes):
  settings = {
    'genes': lambda: GENES,
    'split': ChromosomeFold(num_folds=3),
    'tokenizer': tiny.Letters(),
    'before': 48,
    'after': 96,
    'batch_size': 8,
    'max_prompt': 40,
  }
  return GeneWindows(**{**settings, **changes})


def test_epochs_see_every_gene_and_resume():
  data = _windows()
  number = int((data.split_of == 'train').sum())
  stream, seen = data.train(), []
  while len(seen) < 2 * number:
    seen += next(stream)['gene'][:, 0].tolist()
  assert sorted(seen[:number]) == sorted(seen[number : 2 * number])
  assert seen[:number] != seen[number : 2 * number]
  again = data.train()
  again.set_state({'next_batch': 2})
  assert next(again)['gene'][:, 0].tolist() == seen[16:24]
  assert again.get_state() == {'next_batch': 3}


def test_two_processes_share_each_batch():
  data = _windows()
  whole = next(data.train())
  parts = [next(data.train(process_id=i, num_processes=2)) for i in (0, 1)]
  for name, array in whole.items():
    both = np.concatenate([part[name] for part in parts])
    np.testing.assert_array_equal(array, both)


def test_evaluation_has_every_gene_once():
  data = _windows()
  ((label, batches),) = data.evaluation('test')
  weight = np.concatenate([batch['weight'][:, 0] for batch in batches])
  gene = np.concatenate([batch['gene'][:, 0] for batch in batches])
  wanted = np.flatnonzero(data.split_of == 'test')
  assert label == 'test'
  np.testing.assert_array_equal(gene[weight > 0], wanted)
  ((_, some),) = data.evaluation('test', max_rows=3)
  assert sum(batch['weight'].sum() for batch in some) == 3


def test_values_are_standardized_by_those_that_train():
  data = _windows()
  index = np.flatnonzero(data.split_of == 'train')
  value = data.batch(index)['value']
  assert abs(value.mean()) < 1e-5
  assert abs(value.std() - 1) < 1e-5


def test_shuffled_prompts_are_another_genes_of_the_split():
  own = _windows().batch(np.arange(60))['prompt']
  data = _windows(prompt='shuffled')
  shuffled = data.batch(np.arange(60))['prompt']
  for number in range(60):
    (whose,) = np.flatnonzero((own == shuffled[number]).all(-1))
    assert whose != number
    assert data.split_of[whose] == data.split_of[number]
  assert 'prompt' not in _windows(prompt='none').batch(np.arange(3))


def _write(tmp_path, texts='A\tbinds DNA\nB\tsplits water\n', bound='chr1'):
  codons = 'ATG' + 'GCTGAACGT' * 5 + 'TAA'
  reverse = central_dogma.decode(
    central_dogma.reverse_complement(central_dogma.encode(codons))
  )
  (tmp_path / 'genome.fa').write_text(
    f'>chr1\n{"A" * 20}{codons}{"C" * 20}\n>chr2\n{"G" * 30}{reverse}AAA\n'
  )
  rows = []
  for name, contig, start, strand in (
    ('A', bound, 21, '+'),
    ('B', 'chr2', 31, '-'),
  ):
    end = start + len(codons) - 1
    for kind, attributes in (
      ('gene', f'ID=gene{name};Name={name}'),
      ('mRNA', f'ID=rna{name};Parent=gene{name}'),
      ('CDS', f'ID=cds{name};Parent=rna{name}'),
    ):
      columns = contig, 's', kind, start, end, '.', strand, '0', attributes
      rows.append('\t'.join(map(str, columns)))
  (tmp_path / 'genes.gff').write_text('\n'.join(rows) + '\n')
  (tmp_path / 'tpm.csv').write_text('gene_id,tpm\nA,9\nB,99\nC,1\n')
  (tmp_path / 'texts.tsv').write_text('gene\ttext\n' + texts)
  return AnnotatedGenes(
    genome=str(tmp_path / 'genome.fa'),
    annotation=str(tmp_path / 'genes.gff'),
    measured=str(tmp_path / 'tpm.csv'),
    gene_column='gene_id',
    value_column='tpm',
    texts=TextTable(str(tmp_path / 'texts.tsv'), 'gene', ('text',)),
  )


def test_genes_are_joined_by_name(tmp_path):
  found = _write(tmp_path)()
  first, second = found.genes
  assert (first.name, first.anchor, first.strand, first.value) == (
    'A',
    20,
    1,
    1,
  )
  assert (second.contig, second.strand, second.value) == ('chr2', -1, 2)
  assert first.text == 'binds DNA'
  assert first.cluster == second.cluster
  for gene in found.genes:
    coding = central_dogma.decode(found.coding_sequence(gene))
    assert coding.startswith('ATGGCT')
    assert coding.endswith('TAA')
  assert found.notes == ('1 rows or genes of tpm.csv left out: no gene',)


def test_a_gene_without_text_is_refused_or_counted(tmp_path):
  genes = _write(tmp_path, texts='A\tbinds DNA\n')
  with pytest.raises(InputError, match=r'tpm.csv:3: gene B has no text'):
    genes()
  left_out = dataclasses.replace(genes, without_text='leave_out')()
  assert [gene.name for gene in left_out.genes] == ['A']
  assert '1 rows or genes of tpm.csv left out: no text' in left_out.notes
  kept = dataclasses.replace(genes, without_text='keep')()
  assert [gene.text for gene in kept.genes] == ['binds DNA', '']


def test_sgd_names_genes_by_their_systematic_name(tmp_path):
  columns = [''] * 16
  columns[1], columns[3], columns[4] = 'ORF', 'YAL001C', 'TFC3'
  columns[15] = 'Subunit of TFIIIC'
  path = tmp_path / 'features.tab.gz'
  path.write_bytes(gzip.compress('\t'.join(columns).encode()))
  assert SGDFeatures(str(path))() == {'YAL001C': 'TFC3. Subunit of TFIIIC'}
  path.write_bytes(gzip.compress(b'one\ttwo\n'))
  with pytest.raises(InputError, match=r':1: 2 columns'):
    SGDFeatures(str(path))()


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'before': -3}, 'give some bases'),
    ({'template': 'x'}, 'text'),
  ],
)
def test_settings_that_cannot_be(changes, message):
  with pytest.raises(InputError, match=message):
    _windows(**changes)


def test_a_fold_needs_its_contigs():
  genes = GeneSet(
    GENES.contigs, [g for g in GENES.genes if g.contig in ('chr0', 'chr1')]
  )
  with pytest.raises(InputError, match='2 contigs have genes'):
    ChromosomeFold(num_folds=3)(genes)


def test_a_gene_needs_no_cluster():
  gene = Gene('a', 'c', 0, 1, 0.0)
  assert gene.cluster == ''


def test_regions_of_another_model_split_its_genes(tmp_path):
  path = tmp_path / 'regions.bed'
  path.write_text(
    'chr0\t0\t6000\ttest\nchr1\t0\t6000\tvalid\n'
    'chr2\t0\t6000\ttrain\nchr3\t0\t3000\ttrain\n'
    'chr4\t0\t6000\ttrain\nchr4\t0\t6000\ttest\n'
  )
  genes = [
    dataclasses.replace(gene, cluster='c' if number in (0, 2) else gene.name)
    for number, gene in enumerate(GENES.genes)
  ]
  split = Regions(str(path))(dataclasses.replace(GENES, genes=genes))
  for number, gene in enumerate(genes):
    wanted = {'chr0': 'test', 'chr1': 'validation', 'chr2': 'train'}
    wanted = wanted.get(gene.contig, '')
    if gene.contig == 'chr3' and gene.anchor < 3_000:
      wanted = 'train'
    # Like gene 0, which is tested.
    assert split[number] == ('' if number == 2 else wanted)


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('chr0\t0\t6000\tfold1\n', r':1: .*split'),
    ('chr0\tx\t6000\ttest\n', r':1: .*start'),
    ('chrX\t0\t6000\ttest\n', 'no gene begins in any'),
  ],
)
def test_regions_that_are_none_are_one_line(tmp_path, text, message):
  path = tmp_path / 'regions.bed'
  path.write_text(text)
  with pytest.raises(InputError, match=message):
    Regions(str(path))(GENES)
