"""Secondary structure per residue, in the layout of the FLIP benchmark."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from Bio.SeqIO.FastaIO import SimpleFastaParser
from jaxtyping import Int

from data_pipelines import records
from data_pipelines.errors import InputError
from data_pipelines.tasks import table
from data_pipelines.tasks.choose import Limits
from data_pipelines.tasks.codons import ReverseTranslation
from data_pipelines.tasks.task import NO_LABEL, Task

# Coil, strand, helix: the classes in this order.
STATES = 'CEH'

_SPLIT_OF_HEADER = {
  ('SET=test', 'VALIDATION=False'): 'test',
  ('SET=train', 'VALIDATION=False'): 'train',
  ('SET=train', 'VALIDATION=True'): 'validation',
}


@dataclasses.dataclass(frozen=True)
class SecondaryStructure:
  """Makes the task of a zip of three FASTA files; masked residues are unscored.

  Attributes:
    archive: The zip.
    task_name: Row of a results table.
    sequences: Proteins in the archive.
    labels: Letters C, E, H; the header holds SET= and VALIDATION=.
    mask: 1 where the residue was resolved, else 0.
    codons: How residues become codons.
    limits: How many proteins are taken.
    max_residues: Longer proteins are left out and counted, those of the test
      set too; None takes all.
  """

  archive: str
  task_name: str = 'secondary_structure'
  sequences: str = 'splits/sequences.fasta'
  labels: str = 'splits/sampled.fasta'
  mask: str = 'splits/mask.fasta'
  codons: ReverseTranslation = dataclasses.field(
    default_factory=ReverseTranslation
  )
  limits: Limits = dataclasses.field(default_factory=Limits)
  max_residues: int | None = None

  def __call__(self) -> Task:
    proteins, masks = self._by_name(self.sequences), self._by_name(self.mask)
    found = [
      (header, letters)
      for header, letters in self._read(self.labels)
      if self._is_short(proteins, header)
    ]
    where = f'{self.archive}/{self.labels}'
    split = np.array([_split(header, where) for header, _ in found])
    kept = self.limits.kept(split)
    sequences, labels = [], np.empty(len(kept), object)
    for at, index in enumerate(kept):
      header, states = found[index]
      name = header.split()[0]
      if name not in masks:
        raise InputError(f'{where}: {name!r} is not in {self.mask}; add it')
      labels[at] = _labels(states, masks[name], f'{where}: {name!r}')
      if len(states) != len(proteins[name]):
        raise InputError(
          f'{where}: {name!r} has {len(states)} labels and '
          f'{len(proteins[name])} residues; mend or remove it'
        )
      place = f'{self.archive}/{self.sequences}: {name!r}'
      sequences.append(self.codons(proteins[name], place))
    notes = self.limits.notes(split)
    if num_long := len(masks) - len(found):
      notes = (
        f'{num_long:,} proteins above {self.max_residues:,} residues left out',
        *notes,
      )
    return Task(
      name=self.task_name,
      sequences=sequences,
      labels=labels,
      split=split[kept],
      metric='accuracy',
      pooling='unit',
      kind=records.PROTEIN,
      genetic_code=self.codons.genetic_code,
      notes=notes,
    )

  def _read(self, member: str) -> Iterator[tuple[str, str]]:
    """Header and letters of records whose names are all different."""
    names = set()
    with table.open_member(self.archive, member) as text:
      for header, letters in SimpleFastaParser(text):
        name = header.split()[0] if header.split() else ''
        if not name or name in names:
          raise InputError(
            f'{self.archive}/{member}: record {len(names) + 1}: the name '
            f'{name!r} is empty or taken; rename or remove it'
          )
        names.add(name)
        yield header, letters

  def _by_name(self, member: str) -> dict[str, str]:
    return {head.split()[0]: letters for head, letters in self._read(member)}

  def _is_short(self, proteins: dict[str, str], header: str) -> bool:
    name = header.split()[0]
    if name not in proteins:
      raise InputError(
        f'{self.archive}/{self.labels}: {name!r} is not in {self.sequences}; '
        'add it'
      )
    limit = self.max_residues
    return limit is None or len(proteins[name]) <= limit


def _split(header: str, where: str) -> str:
  name, *fields = header.split()
  split = _SPLIT_OF_HEADER.get(tuple(fields))
  if split is None:
    raise InputError(
      f'{where}: {name!r}: {" ".join(fields)!r} is no split; expected '
      'SET=train|test VALIDATION=True|False'
    )
  return split


def _labels(states: str, mask: str, where: str) -> Int[np.ndarray, 'm']:
  """Index into `STATES` per residue, `NO_LABEL` where it was not resolved."""
  if len(mask) != len(states):
    raise InputError(
      f'{where}: {len(states)} labels, but a mask of {len(mask)}; mend it'
    )
  for text, known, what in ((states, STATES, 'label'), (mask, '01', 'mask')):
    unknown = set(text) - set(known)
    if unknown:
      letter = min(unknown)
      raise InputError(
        f'{where}: {what} {letter!r} at 0-based position {text.index(letter)}; '
        f'expected one of {", ".join(known)}'
      )
  classes = np.array([STATES.index(state) for state in states])
  return np.where(np.array(list(mask)) == '1', classes, NO_LABEL)
