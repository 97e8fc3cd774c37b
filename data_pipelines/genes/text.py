"""Texts about genes, and what of them would give away the label."""

import dataclasses
import re
from pathlib import Path

from data_pipelines.errors import InputError
from data_pipelines.readers.compressed import open_text
from data_pipelines.tasks import table

# Of a description that says where or how much a gene is expressed, which is
# what a model is asked for.
_TELLS = re.compile(
  r'\b(express\w*|abundan\w*|transcri(?:bed|ptional\w*)|transcript levels?|'
  r'(?:up|down)-?regulat\w*|induc(?:ed|ible)|repressed|ubiquitous\w*|'
  r'RPKM|FPKM|TPM|tissues?|mRNA levels?|protein levels?|highly|levels? of|'
  r'copies per cell|molecules per cell)\b',
  re.IGNORECASE,
)
_SENTENCE = re.compile(r'(?<=[.;])\s+')


def without_expression(text: str) -> str:
  """The sentences, and parts between semicolons, that say no expression.

  The leakage rule for prompts: annotations state the breadth of expression,
  which is the label.
  """
  parts = _SENTENCE.split(text.strip())
  return ' '.join(part for part in parts if not _TELLS.search(part)).strip()


@dataclasses.dataclass(frozen=True)
class SGDFeatures:
  """The feature table of the Saccharomyces Genome Database.

  Attributes:
    path: SGD_features.tab, plain or gzip: 16 columns without a header.
  """

  path: str

  def __call__(self) -> dict[str, str]:
    """By systematic name: gene name, product and description."""
    found = {}
    with open_text(Path(self.path)) as text:
      for number, line in enumerate(text, 1):
        columns = line.rstrip('\r\n').split('\t')
        if len(columns) != 16:
          raise InputError(
            f'{self.path}:{number}: {len(columns)} columns, SGD_features.tab '
            'has 16; fetch the file again'
          )
        if columns[1] == 'ORF':
          # A sentence of its own, which the leakage rule keeps.
          found[columns[3]] = f'{columns[4] or columns[3]}. {columns[15]}'
    return found


@dataclasses.dataclass(frozen=True)
class TextTable:
  """A CSV or TSV file of genes and what is written about them.

  Attributes:
    path: The file, plain or gzip.
    gene_column: Name of the gene.
    text_columns: Joined in this order.
    delimiter: Between columns.
  """

  path: str
  gene_column: str
  text_columns: tuple[str, ...]
  delimiter: str = '\t'

  def __call__(self) -> dict[str, str]:
    """By the name of the gene."""
    columns = (self.gene_column, *self.text_columns)
    rows = table.read(self.path, columns, delimiter=self.delimiter)
    return {
      row.text(self.gene_column): '. '.join(
        text for column in self.text_columns if (text := row.values[column])
      )
      for row in rows
    }
