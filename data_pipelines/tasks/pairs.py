"""Pairs of an RNA and a protein that bind, or do not."""

import dataclasses
from pathlib import Path

import numpy as np

from data_pipelines import central_dogma, records
from data_pipelines.errors import InputError
from data_pipelines.readers import fasta
from data_pipelines.tasks import table
from data_pipelines.tasks.choose import RandomSplit
from data_pipelines.tasks.codons import ReverseTranslation
from data_pipelines.tasks.task import Metric, Task


@dataclasses.dataclass(frozen=True)
class RnaProteinPairs:
  """Makes the task of a table of pairs and the FASTA files of both sides.

  Pairs whose RNA has a letter other than A C G T U (structures write modified
  and unseen bases as X, I or N) are left out and counted in the notes.
  Proteins of equal letters are one protein: it is in one split, and intervals
  are over proteins. An RNA may be in several splits, and so may proteins that
  are merely similar (`data_pipelines.contamination` counts them).

  Attributes:
    path: Protein, RNA and label (1 binds, 0 does not), by tabs, no header.
    rna: FASTA of the RNA.
    proteins: FASTA of the proteins.
    task_name: Row of a results table.
    codons: How residues become codons.
    split: Which proteins train and which test.
    metric: What is reported.
  """

  path: str
  rna: str
  proteins: str
  task_name: str = 'rna_protein'
  codons: ReverseTranslation = dataclasses.field(
    default_factory=ReverseTranslation
  )
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
    columns = ('protein', 'rna', 'label')
    sequences, labels, proteins, num_illegal = [], [], [], 0
    for row in table.read(self.path, columns, delimiter='\t', has_header=False):
      protein, rna = row.text('protein'), row.text('rna')
      label = row.choice('label', ('0', '1'))
      for name, known, file in (
        (protein, letters, self.proteins),
        (rna, bases.keys() | illegal, self.rna),
      ):
        if name not in known:
          raise InputError(
            f'{row.where}: {name!r} is not in {file}; add it or remove the row'
          )
      if rna in illegal:
        num_illegal += 1
        continue
      sequences.append(bases[rna])
      labels.append(int(label))
      proteins.append(letters[protein])
    notes = (
      f'{num_illegal:,} pairs of {len(illegal):,} RNA with letters other than '
      'A C G T U left out',
    )
    _, groups = np.unique(np.array(proteins), return_inverse=True)
    return Task(
      name=self.task_name,
      sequences=sequences,
      labels=np.array(labels),
      split=self.split(proteins),
      metric=self.metric,
      partners=[codons_of[protein] for protein in proteins],
      kind=records.RNA,
      partner_kind=records.PROTEIN,
      genetic_code=self.codons.genetic_code,
      groups=groups,
      notes=notes if illegal else (),
    )

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
