"""Pairs of an RNA and a protein that bind, or do not."""

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np

from data_pipelines import central_dogma, records
from data_pipelines.errors import InputError
from data_pipelines.readers import fasta
from data_pipelines.tasks import table
from data_pipelines.tasks.choose import RandomSplit
from data_pipelines.tasks.codons import ReverseTranslation
from data_pipelines.tasks.similar import SimilarProteins
from data_pipelines.tasks.task import Metric, Task


@dataclasses.dataclass(frozen=True)
class RnaProteinPairs:
  """Makes the task of a table of pairs and the FASTA files of both sides.

  Pairs whose RNA has a letter other than A C G T U (structures write modified
  and unseen bases as X, I or N) are left out and counted in the notes.
  So are pairs of the same two sequences as one before, and all of those
  whose labels contradict each other. Proteins that are alike are in one split,
  and intervals are over clusters of them; an RNA may be in several splits.

  Attributes:
    path: Protein, RNA and label (1 binds, 0 does not), by tabs, no header.
    rna: FASTA of the RNA.
    proteins: FASTA of the proteins.
    task_name: Row of a results table.
    codons: How residues become codons.
    similar: Which proteins are alike.
    split: Which clusters of proteins train and which test.
    metric: What is reported.
  """

  path: str
  rna: str
  proteins: str
  task_name: str = 'rna_protein'
  codons: ReverseTranslation = dataclasses.field(
    default_factory=ReverseTranslation
  )
  similar: SimilarProteins = dataclasses.field(default_factory=SimilarProteins)
  split: RandomSplit = dataclasses.field(default_factory=RandomSplit)
  metric: Metric = 'auroc'

  def __call__(self) -> Task:
    letters = {
      header.split()[0]: letters
      for header, letters in fasta.read_proteins(Path(self.proteins)).items()
    }
    bases, illegal = self._rna()
    codons_of = {
      protein: self.codons(protein, self.proteins)
      for protein in set(letters.values())
    }
    labels_of: dict[tuple[str, bytes], list[int]] = {}
    rna_of: dict[bytes, np.ndarray] = {}
    num_illegal = 0
    for protein, rna, label in self._rows(letters, bases.keys() | illegal):
      if rna in illegal:
        num_illegal += 1
        continue
      key = letters[protein], bases[rna].tobytes()
      rna_of[key[1]] = bases[rna]
      labels_of.setdefault(key, []).append(label)
    kept = {key: found[0] for key, found in labels_of.items() if _agree(found)}
    num_pairs = sum(map(len, labels_of.values()))
    contradicting = sum(
      len(found) for found in labels_of.values() if not _agree(found)
    )
    cluster_of = self.similar(letters.values())
    clusters = [cluster_of[protein] for protein, _ in kept]
    _, groups = np.unique(np.array(clusters), return_inverse=True)
    return Task(
      name=self.task_name,
      sequences=[rna_of[rna] for _, rna in kept],
      labels=np.array(list(kept.values())),
      split=self.split(clusters),
      metric=self.metric,
      partners=[codons_of[protein] for protein, _ in kept],
      kind=records.RNA,
      partner_kind=records.PROTEIN,
      genetic_code=self.codons.genetic_code,
      groups=groups,
      notes=tuple(
        f'{number:,} pairs {what} left out'
        for number, what in (
          (num_illegal, 'of RNA with letters other than A C G T U'),
          (num_pairs - contradicting - len(kept), 'that repeat another'),
          (contradicting, 'with labels that contradict each other'),
        )
        if number
      ),
    )

  def _rows(
    self, proteins: Collection[str], rna: Collection[str]
  ) -> Iterator[tuple[str, str, int]]:
    """Names and label of each pair; every name is known."""
    columns = ('protein', 'rna', 'label')
    for row in table.read(self.path, columns, delimiter='\t', has_header=False):
      names = row.text('protein'), row.text('rna')
      label = int(row.choice('label', ('0', '1')))
      for name, known, file in zip(
        names, (proteins, rna), (self.proteins, self.rna), strict=True
      ):
        if name not in known:
          raise InputError(
            f'{row.where}: {name!r} is not in {file}; add it or remove the row'
          )
      yield *names, label

  def _rna(self) -> tuple[dict[str, np.ndarray], set[str]]:
    """Bases by name, and the names of those with other letters."""
    bases, illegal = {}, set()
    for header, letters in fasta.read_letters(Path(self.rna)):
      name = header.split()[0]
      if set(letters.upper()) <= set('ACGTU'):
        bases[name] = central_dogma.encode(letters)
      else:
        illegal.add(name)
    return bases, illegal


def _agree(labels: Sequence[int]) -> bool:
  return len(set(labels)) == 1
