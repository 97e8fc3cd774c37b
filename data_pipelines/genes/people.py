"""Expression of the same genes in many people: BED files of fastQTL."""

import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from data_pipelines.errors import InputError
from data_pipelines.readers.compressed import open_text

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
