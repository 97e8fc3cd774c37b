"""Genes of an annotated genome, with values and texts from tables."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from data_pipelines import central_dogma
from data_pipelines.errors import InputError
from data_pipelines.genes.gene import Gene, GeneSet, Span
from data_pipelines.genes.text import without_expression
from data_pipelines.readers import annotation, fasta, gff
from data_pipelines.readers.annotation import Molecule
from data_pipelines.tasks import table
from data_pipelines.tasks.similar import SimilarProteins

WithoutText = Literal['refuse', 'leave_out', 'keep']


@dataclasses.dataclass(frozen=True)
class AnnotatedGenes:
  """Coding genes of a genome that have a value; reads them when called.

  A gene is found by its ID, or by a part of its Name between slashes. Left out
  and counted: values that are empty or without a gene, and genes of which
  several rows tell.

  Attributes:
    genome: FASTA, plain or gzip.
    annotation: GFF3 or GTF of it.
    measured: CSV with a value for each gene.
    gene_column: Of `measured`.
    value_column: Of `measured`.
    texts: What is written of each gene, by name; None is nothing.
    without_text: What to do with a gene that has none.
    is_leakage_kept: Leaves sentences about expression in the texts, which is
      only right to measure what they give away.
    is_log1p: Whether the value is log10(1 + value) of the column.
    genetic_code: NCBI table.
    similar: Which proteins are in one cluster.
  """

  genome: str
  annotation: str
  measured: str
  gene_column: str
  value_column: str
  texts: Callable[[], Mapping[str, str]] | None = None
  without_text: WithoutText = 'refuse'
  is_leakage_kept: bool = False
  is_log1p: bool = True
  genetic_code: int = 1
  similar: SimilarProteins = dataclasses.field(default_factory=SimilarProteins)

  def __call__(self) -> GeneSet:
    contigs = fasta.read_genome(Path(self.genome))
    molecules = self._molecules(contigs)
    texts = self.texts() if self.texts else {}
    genes: dict[str, list[Gene]] = {}
    left_out = dict.fromkeys(('no value', 'no gene', 'no text'), 0)
    for row in table.read(self.measured, (self.gene_column, self.value_column)):
      if not row.values[self.value_column]:
        left_out['no value'] += 1
        continue
      name = row.text(self.gene_column)
      if name not in molecules:
        left_out['no gene'] += 1
        continue
      text = texts.get(name, '')
      if not self.is_leakage_kept:
        text = without_expression(text)
      if not text and self.texts and self.without_text == 'refuse':
        raise InputError(
          f'{row.where}: gene {name} has no text; give one, or set '
          "without_text to 'leave_out' or 'keep'"
        )
      if not text and self.texts and self.without_text == 'leave_out':
        left_out['no text'] += 1
        continue
      value = row.number(self.value_column)
      if self.is_log1p:
        value = float(np.log10(1 + value))
      molecule = molecules[name]
      genes.setdefault(molecule.name, []).append(
        Gene(
          name=name,
          contig=molecule.contig,
          anchor=_first_base(molecule),
          strand=molecule.strand,
          value=value,
          text=text,
          coding=molecule.parts,
        )
      )
    single = [found[0] for found in genes.values() if len(found) == 1]
    left_out['several names of one gene'] = len(genes) - len(single)
    notes = [
      f'{number:,} rows or genes of {Path(self.measured).name} left out: {why}'
      for why, number in left_out.items()
      if number
    ]
    if not single:
      raise InputError(
        f'{self.measured}: no {self.gene_column} is a gene of '
        f'{self.annotation}; check that they name genes alike'
      )
    found = GeneSet(
      {name: contig.sequence for name, contig in contigs.items()},
      single,
      self.genetic_code,
      tuple(notes),
    )
    return _clustered(found, self.similar)

  def _molecules(self, contigs: Mapping[str, object]) -> dict[str, Molecule]:
    """One CDS for each name of a gene; the longest of several."""
    path = Path(self.annotation)
    names: dict[str, list[str]] = {}
    for row in gff.read_rows(path, contigs):
      if gff.is_gene(row.type) and (key := row.first('ID')):
        names[key] = [key, *(row.first('Name') or '').split('/')]
    found: dict[str, Molecule] = {}
    for molecule in annotation.read_annotation(path, contigs):
      is_whole = molecule.strand and not molecule.is_pseudo
      if molecule.kind != 'cds' or not is_whole or molecule.is_partial:
        continue
      for name in (n for key in molecule.aliases for n in names.get(key, ())):
        other = found.get(name)
        if other is None or _size(molecule.parts) > _size(other.parts):
          found[name] = molecule
    return found


def _first_base(molecule: Molecule) -> int:
  start, end = molecule.parts[0]
  return start if molecule.strand > 0 else end - 1


def _size(parts: tuple[Span, ...]) -> int:
  return sum(end - start for start, end in parts)


def _clustered(genes: GeneSet, similar: SimilarProteins) -> GeneSet:
  """With the paralogues of each gene in its cluster."""
  proteins = []
  for gene in genes.genes:
    coding = genes.coding_sequence(gene)
    whole = coding[: coding.size // 3 * 3]
    residues = central_dogma.translate(whole, genes.genetic_code)
    proteins.append(central_dogma.decode_protein(residues))
  like = similar(proteins)
  first: dict[str, str] = {}
  named = []
  for gene, protein in zip(genes.genes, proteins, strict=True):
    cluster = first.setdefault(like[protein], gene.name)
    named.append(dataclasses.replace(gene, cluster=cluster))
  return dataclasses.replace(genes, genes=named)
