"""Expression of the same genes in many people: BED files of fastQTL."""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from data_pipelines.errors import InputError
from data_pipelines.genes.gene import Gene, GeneSet
from data_pipelines.genes.text import without_expression
from data_pipelines.readers import fasta
from data_pipelines.readers.compressed import open_text
from data_pipelines.tasks import table

_FIXED = 4


@dataclasses.dataclass(frozen=True)
class PeopleExpression:
  """A table of genes by people, such as that of Geuvadis.

  Attributes:
    genes: Their names.
    contigs: Of each.
    anchors: 0-based start of transcription of each.
    people: Names of samples.
    values: A row a gene.
  """

  genes: Sequence[str]
  contigs: Sequence[str]
  anchors: Int[np.ndarray, 'g']
  people: Sequence[str]
  values: Float[np.ndarray, 'g p']


def read_bed(
  path: str | Path, lengths: Collection[tuple[str, int]] | None = None
) -> PeopleExpression:
  """Reads columns #Chr, start, end, ID and one for each person.

  Args:
    path: The file, plain or gzip.
    lengths: Of contigs by name, to check that genes are on them; None does
      not.

  Raises:
    InputError: A row has another number of columns, a value is no number, or a
      gene is not on its contig.
  """
  known = dict(lengths or ())
  genes, contigs, anchors, values = [], [], [], []
  people: list[str] = []
  with open_text(Path(path)) as text:
    for number, line in enumerate(text, 1):
      columns = line.rstrip('\r\n').split('\t')
      where = f'{path}:{number}'
      if number == 1:
        if not columns[0].lower().startswith('#chr') or len(columns) <= _FIXED:
          raise InputError(
            f'{where}: expected a header #Chr, start, end, ID and people'
          )
        people = columns[_FIXED:]
        continue
      if len(columns) != _FIXED + len(people):
        raise InputError(
          f'{where}: {len(columns)} columns, the header has '
          f'{_FIXED + len(people)}'
        )
      contig, start, _, gene = columns[:_FIXED]
      try:
        anchor = int(start)
        row = [float(value) for value in columns[_FIXED:]]
      except ValueError as error:
        raise InputError(f'{where}: {error}; mend the row') from error
      if not np.isfinite(row).all():
        raise InputError(
          f'{where}: gene {gene} has a value that is not finite; leave it out'
        )
      if known and not 0 <= anchor < known.get(contig, 0):
        raise InputError(
          f'{where}: gene {gene} starts at {contig}:{anchor + 1:,}, which is '
          'not on the genome; is the table of another genome build?'
        )
      genes.append(gene)
      contigs.append(contig)
      anchors.append(anchor)
      values.append(row)
  if not genes:
    raise InputError(f'{path}: no gene in it')
  return PeopleExpression(
    genes, contigs, np.array(anchors), people, np.array(values)
  )


@dataclasses.dataclass(frozen=True)
class MeanOfPeople:
  """Genes with the mean over people of log(1 + expression).

  The values of a model across genes; normalised ones have the same mean for
  every gene, and are refused.

  Attributes:
    genome: FASTA, plain or gzip.
    expression: BED file of `read_bed`, such as RPKM or TPM of Geuvadis.
    starts: CSV with the columns gene, strand and, if `cluster_column` names
      one, cluster; genes that it does not have are left out, and counted.
    cluster_column: Similar genes have the same; '' if there is none.
    texts: What is written of each gene, by name; None is nothing.
  """

  genome: str
  expression: str
  starts: str
  cluster_column: str = ''
  texts: Callable[[], Mapping[str, str]] | None = None

  def __call__(self) -> GeneSet:
    contigs = {
      name: contig.sequence
      for name, contig in fasta.read_genome(Path(self.genome)).items()
    }
    lengths = [(name, bases.size) for name, bases in contigs.items()]
    found = read_bed(self.expression, lengths)
    if found.values.min() < 0:
      raise InputError(
        f'{self.expression}: has values below 0, as normalised ones do; their '
        'mean says nothing of a gene. Give RPKM or TPM'
      )
    strands = self._strands()
    texts = self.texts() if self.texts else {}
    genes, left_out = [], 0
    for row, name in enumerate(found.genes):
      if name not in strands:
        left_out += 1
        continue
      if self.texts and name not in texts:
        raise InputError(
          f'{self.expression}: gene {name} has no text; give one'
        )
      strand, cluster = strands[name]
      genes.append(
        Gene(
          name=name,
          contig=found.contigs[row],
          anchor=int(found.anchors[row]),
          strand=strand,
          value=float(np.log1p(found.values[row]).mean()),
          text=without_expression(texts.get(name, '')),
          cluster=cluster,
        )
      )
    if not genes:
      raise InputError(
        f'{self.starts}: no gene of {self.expression} is in it; name genes '
        'alike'
      )
    notes = f'{left_out:,} genes left out: {Path(self.starts).name} lacks them'
    return GeneSet(contigs, genes, notes=(notes,) if left_out else ())

  def _strands(self) -> dict[str, tuple[int, str]]:
    """Strand and cluster of each gene."""
    cluster = self.cluster_column or 'gene'
    return {
      row.text('gene'): (
        -1 if row.choice('strand', ('+', '-', '1', '-1'))[0] == '-' else 1,
        row.text(cluster),
      )
      for row in table.read(self.starts, ('gene', 'strand', cluster))
    }
