"""Genes of a table: names, where they start, values and texts."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from data_pipelines.errors import InputError
from data_pipelines.genes.gene import Gene, GeneSet
from data_pipelines.genes.text import without_expression
from data_pipelines.readers import fasta
from data_pipelines.tasks import table


@dataclasses.dataclass(frozen=True)
class TabledGenes:
  """Genes with their start of transcription; reads them when called.

  Attributes:
    genome: FASTA, plain or gzip.
    path: CSV with a row a gene.
    gene_column: Name.
    contig_column: Name of the contig, as the genome has it.
    start_column: 1-based start of transcription.
    strand_column: + or -, or 1 or -1.
    value_column: What was measured.
    cluster_column: Similar genes have the same; '' if the table has none.
    texts: What is written of each gene, by name; None is nothing.
  """

  genome: str
  path: str
  gene_column: str = 'gene'
  contig_column: str = 'contig'
  start_column: str = 'tss'
  strand_column: str = 'strand'
  value_column: str = 'value'
  cluster_column: str = ''
  texts: Callable[[], Mapping[str, str]] | None = None

  def __call__(self) -> GeneSet:
    contigs = {
      name: contig.sequence
      for name, contig in fasta.read_genome(Path(self.genome)).items()
    }
    texts = self.texts() if self.texts else {}
    columns = [
      self.gene_column,
      self.contig_column,
      self.start_column,
      self.strand_column,
      self.value_column,
    ]
    if self.cluster_column:
      columns.append(self.cluster_column)
    genes, names = [], set()
    for row in table.read(self.path, columns):
      name = row.text(self.gene_column)
      if name in names:
        raise InputError(f'{row.where}: gene {name} has another row; keep one')
      names.add(name)
      contig = row.text(self.contig_column)
      if contig not in contigs:
        raise InputError(
          f'{row.where}: contig {contig!r} is not in {self.genome}; name them '
          'alike, or give the build of the table'
        )
      if self.texts and name not in texts:
        raise InputError(f'{row.where}: gene {name} has no text; give one')
      strand = row.choice(self.strand_column, ('+', '-', '1', '-1'))
      genes.append(
        Gene(
          name=name,
          contig=contig,
          anchor=row.integer(self.start_column) - 1,
          strand=-1 if strand.startswith('-') else 1,
          value=row.number(self.value_column),
          text=without_expression(texts.get(name, '')),
          cluster=row.text(self.cluster_column or self.gene_column),
        )
      )
    if not genes:
      raise InputError(f'{self.path}: no gene in it')
    return GeneSet(contigs, genes)
