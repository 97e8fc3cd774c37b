"""Readers of FASTA, GFF3, GTF and GenBank."""

import gzip

import numpy as np
import pytest
from Bio import bgzf

from data_pipelines import central_dogma
from data_pipelines.builders import molecules
from data_pipelines.readers import annotation, fasta, genbank

# A gene of two exons whose second one starts inside a codon:
# ATG AA|A GTT TAA with an intron, on both strands.
EXONS = ('ATGAA', 'AGTTTAA')
INTRON = 'GTAAGTTTTTTTTTTTTTTTTTTTTTTAG'
GENE = EXONS[0] + INTRON + EXONS[1]


def _contigs():
  reverse = central_dogma.decode(
    central_dogma.reverse_complement(central_dogma.encode(GENE))
  )
  letters = 'CCCCC' + GENE + 'CCCCC' + reverse + 'CCCCC'
  sequence = central_dogma.encode(letters)
  return {'c1': fasta.Contig('c1', sequence, np.zeros(len(sequence), bool))}


def _spans():
  """1-based exons of the forward and of the reverse copy."""
  size, first, intron = len(GENE), len(EXONS[0]), len(INTRON)
  forward = [(6, 5 + first), (6 + first + intron, 5 + size)]
  end = 10 + 2 * size
  reverse = [(end - first + 1, end), (11 + size, end - first - intron)]
  return forward, reverse


def _rows(style: str) -> str:
  lines = []
  for (parts, strand), name in zip(
    zip(_spans(), '+-', strict=True), ('f', 'r'), strict=True
  ):
    low = min(p[0] for p in parts)
    high = max(p[1] for p in parts)
    if style != 'ncbi':
      gene = f'ID=g{name}'
      mrna = f'ID=t{name};Parent=g{name}'
      if style == 'gtf':
        gene = f'gene_id "g{name}";'
        mrna = f'gene_id "g{name}"; transcript_id "t{name}";'
      lines.append(('gene', low, high, strand, '.', gene))
      kind = 'transcript' if style == 'gtf' else 'mRNA'
      lines.append((kind, low, high, strand, '.', mrna))
    for number, (part, phase) in enumerate(zip(parts, '01', strict=True)):
      attributes = {
        'ncbi': f'ID=cds-{name};Parent=gene-{name};protein_id=p{name}',
        'yeast': f'ID=t{name}.CDS.{number};Parent=t{name}',
        'cress': f'Parent=t{name},t{name}-Protein;',
        'worm': f'ID=CDS:{name};Parent=t{name};Name={name}',
        'gtf': f'gene_id "g{name}"; transcript_id "t{name}";',
      }[style]
      phase = '.' if style == 'yeast' else phase
      start, end = part
      if style == 'gtf' and number == 1:
        # GTF leaves the stop out of the CDS.
        stop = (end - 2, end) if strand == '+' else (start, start + 2)
        lines.append(('stop_codon', *stop, strand, '0', attributes))
        start, end = (start, end - 3) if strand == '+' else (start + 3, end)
      lines.append(('CDS', start, end, strand, phase, attributes))
  return '\n'.join(
    '\t'.join(['c1', 'x', kind, str(start), str(end), '.', *rest])
    for kind, start, end, *rest in lines
  )


@pytest.mark.parametrize('style', ['ncbi', 'yeast', 'cress', 'worm', 'gtf'])
def test_cds_of_every_style_is_spliced_on_both_strands(tmp_path, style):
  path = tmp_path / 'a.gff'
  path.write_text(_rows(style) + '\n')
  contigs = _contigs()
  found = annotation.read_annotation(path, contigs)
  coding = [m for m in found if m.kind == 'cds']
  assert len(coding) == 2
  for molecule in coding:
    result = molecules.coding(
      molecule, contigs['c1'], table=1, protein='MKV', source='x'
    )
    assert central_dogma.decode(result.record.sequence) == ''.join(EXONS)
    assert result.agreement == molecules.EQUAL
    assert result.is_complete
    assert result.record.codon_phase.tolist() == [0, 1, 2] * 4


def test_programmed_frameshift_reads_one_base_twice(tmp_path):
  # ATG AAA A|A GTT TAA: the A at the joint is read twice.
  contig = fasta.Contig(
    'c1', central_dogma.encode('ATGAAAAGTTTAA'), np.zeros(13, bool)
  )
  path = tmp_path / 'a.gff'
  path.write_text(
    'c1\tx\tCDS\t1\t7\t.\t+\t0\tID=cds-a;Parent=gene-a\n'
    'c1\tx\tCDS\t7\t13\t.\t+\t1\tID=cds-a;Parent=gene-a\n'
  )
  (molecule,) = annotation.read_annotation(path, {'c1': contig})
  result = molecules.coding(
    molecule, contig, table=11, protein=None, source='x'
  )
  assert result.reason == 'not_multiple_of_3'
  assert result.detail == '14 bases'
  path.write_text(path.read_text().replace('\t7\t13\t', '\t6\t13\t'))
  (molecule,) = annotation.read_annotation(path, {'c1': contig})
  result = molecules.coding(
    molecule, contig, table=11, protein='MKKV', source='x'
  )
  assert result.agreement == molecules.EQUAL


@pytest.mark.parametrize(
  'text',
  [
    'transl_except=(pos:4..6%2Caa:Sec)',
    'transl_except=(pos:4..6,aa:Sec)',
  ],
)
def test_selenocysteine(tmp_path, text):
  contig = fasta.Contig(
    'c1', central_dogma.encode('ATGTGATAA'), np.zeros(9, bool)
  )
  path = tmp_path / 'a.gff'
  path.write_text(f'c1\tx\tCDS\t1\t9\t.\t+\t0\tID=cds-a;{text}\n')
  (molecule,) = annotation.read_annotation(path, {'c1': contig})
  result = molecules.coding(
    molecule, contig, table=11, protein='MU', source='x'
  )
  assert result.agreement == molecules.EQUAL_WITH_EXCEPTIONS
  assert central_dogma.decode_protein(result.record.amino_acids) == 'MU*'


def test_mrna_marks_its_codons(tmp_path):
  contigs = _contigs()
  _, reverse = _spans()
  (first, last) = reverse
  rows = [
    ('mRNA', last[0] - 4, first[1] + 5, '.', 'ID=t'),
    ('exon', first[0], first[1] + 5, '.', 'Parent=t'),
    ('exon', last[0] - 4, last[1], '.', 'Parent=t'),
    ('CDS', *first, '0', 'Parent=t'),
    ('CDS', *last, '1', 'Parent=t'),
  ]
  path = tmp_path / 'a.gff'
  path.write_text(
    '\n'.join(
      f'c1\tx\t{kind}\t{start}\t{end}\t.\t-\t{phase}\t{attributes}'
      for kind, start, end, phase, attributes in rows
    )
  )
  cds, mrna = annotation.read_annotation(path, contigs)
  record = molecules.transcript(
    mrna, contigs['c1'], table=1, source='x', cds=cds
  )
  assert central_dogma.decode(record.sequence) == (
    'GGGGG' + ''.join(EXONS) + 'GGGG'
  )
  assert record.codon_phase.tolist() == [3] * 5 + [0, 1, 2] * 4 + [3] * 4


@pytest.mark.parametrize('opener', [open, gzip.open, bgzf.open])
def test_fasta_plain_gz_and_bgz(tmp_path, opener):
  path = tmp_path / 'g'
  with opener(path, 'wt') as file:
    file.write('>c1 first\nACGT\nacgu\n>c2\nNNRY\n')
  contigs = fasta.read_genome(path)
  assert list(contigs) == ['c1', 'c2']
  assert contigs['c1'].sequence.tolist() == [0, 1, 2, 3] * 2
  assert contigs['c1'].soft_mask.tolist() == [False] * 4 + [True] * 4
  assert contigs['c2'].sequence.tolist() == [4] * 4


GENBANK = """\
LOCUS       c1                        18 bp    DNA     linear   BCT 01-JAN-2000
DEFINITION  x.
ACCESSION   c1
VERSION     c1.1
FEATURES             Location/Qualifiers
     CDS             complement(4..15)
                     /locus_tag="a"
                     /transl_table=11
                     /transl_except=(pos:complement(10..12),aa:Sec)
                     /protein_id="P1"
                     /translation="MUL"
ORIGIN
        1 gggttataat caaccgga
//
"""


def test_genbank(tmp_path):
  path = tmp_path / 'a.gb'
  # Reverse complement of ATG TGA TTA TAA at bases 4 to 15.
  path.write_text(GENBANK.replace('gggttataat caaccgga', 'gggttataat cacatgga'))
  contigs, (molecule,), proteins = genbank.read_genbank(path)
  result = molecules.coding(
    molecule,
    contigs['c1.1'],
    table=molecule.table,
    protein=proteins['P1'],
    source='x',
  )
  assert result.agreement == molecules.EQUAL_WITH_EXCEPTIONS
  assert central_dogma.decode(result.record.sequence) == 'ATGTGATTATAA'
