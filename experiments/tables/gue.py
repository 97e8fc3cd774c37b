"""The tasks of GUE (arXiv:2306.15006), and which of them a tier takes."""

import pathlib

_MARKS = (
  *('H3', 'H3K14ac', 'H3K36me3', 'H3K4me1', 'H3K4me2', 'H3K4me3'),
  *('H3K79me3', 'H3K9ac', 'H4', 'H4ac'),
)
_PROMOTERS = ('all', 'notata', 'tata')
# Folders of each group, as GUE is published.
GROUPS = {
  'epigenetic_marks': tuple(f'EMP/{mark}' for mark in _MARKS),
  'tf_human': tuple(f'tf/{i}' for i in range(5)),
  'tf_mouse': tuple(f'mouse/{i}' for i in range(5)),
  'core_promoters': tuple(f'prom/prom_core_{kind}' for kind in _PROMOTERS),
  'promoters': tuple(f'prom/prom_300_{kind}' for kind in _PROMOTERS),
  'splice': ('splice/reconstructed',),
  'covid': ('virus/covid',),
}
NUM_TASKS = sum(map(len, GROUPS.values()))
_SMOKE = ('prom/prom_core_tata', 'mouse/2')
# Small ones first, so that a long run shows something soon.
_AT_HAND = (
  *('mouse/2', 'prom/prom_core_tata', 'mouse/0'),
  *('tf/2', 'tf/1', 'tf/0', 'prom/prom_core_all'),
)
WHERE = (
  'get GUE from github.com/MAGICS-LAB/DNABERT_2: train, dev and test.csv of '
  'each task'
)


def folders(tier: str) -> tuple[str, ...]:
  """Of the tasks of a tier."""
  every = tuple(folder for group in GROUPS.values() for folder in group)
  return {'smoke': _SMOKE, 'cpu': _AT_HAND}.get(tier, every)


def needs(data: pathlib.Path, tier: str) -> list[tuple[pathlib.Path, str]]:
  """Folders that must be there, and where they are from."""
  return [(data / 'gue' / folder, WHERE) for folder in folders(tier)]


def name(folder: str) -> str:
  """Such as tf_0 and prom_core_all: those of other tables."""
  return folder.removeprefix('prom/').replace('/', '_')
