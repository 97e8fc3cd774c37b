"""What of VQDNA earns what: codes, masking, stride and backbone, one by one.

At the tier cpu both stages have fewer steps than elsewhere, the same for all
columns. VQDNA (arXiv:2405.10812) ablates its own choices at full size.
"""

import pathlib
from typing import Any

from experiments.tables import gue
from experiments.tables.vqdna import sources

_FOLDERS = {'smoke': ('mouse/2',), 'cpu': ('mouse/2', 'prom/prom_core_tata')}
# Arms of stage 1, and of stage 2 on the vocabulary of the same name.
_VOCABULARIES = {
  'half_codes': ('half',),
  'narrow_codes': ('narrow',),
  'stride_3': ('stride3',),
  'masked_bases': ('masked',),
}
_NOTE = (
  'Each column changes one thing of `vqdna`: half as many codes; codes of a '
  'quarter of the width; three bases a token (filters, units and hidden spans '
  'keep their extent in bases); bases hidden before they are tokenized, in '
  'both stages; single tokens hidden, as published; 15 % and 40 % of tokens '
  'hidden instead of 25 %; the hybrid backbone instead of softmax attention.'
)
# HRQ's values; means of three runs, most of them less than a point apart.
_PUBLISHED = """

Published (VQDNA, arXiv:2405.10812, HRQ, as a survey quotes it): models a
hundred times this size, on other tasks.

| sweep | metric | values |
| --- | --- | --- |
| codes 128, 256, 512, 1024 | linear-probe F1, covid | 42.8, 47.7, 48.9, 48.2 |
| width 256, 384, 768 | linear-probe F1, covid | 48.2, 48.9, 48.9 |
| hidden 15, 20, 25, 30 % | MCC, H3 | 78.3, 78.8, 79.2, 78.6 |
| hidden 15, 20, 25, 30 % | F1, covid | 73.7, 74.2, 74.3, 73.9 |
"""


def get_table(
  data: pathlib.Path, out: pathlib.Path, tier: str
) -> dict[str, Any]:
  """Data sets, vocabularies, runs and tasks."""
  folders = _FOLDERS.get(tier, gue.folders(tier))
  first = {'train.steps': 200, **sources.FEW_ROWS} if tier == 'cpu' else {}
  second = {'train.steps': 200} if tier == 'cpu' else {}
  names = {name: f'ablation-{name}' for name in ('vqdna', *_VOCABULARIES)}

  def learnt(name: str) -> sources.Object:
    options = _VOCABULARIES.get(name, ())
    return sources.vocabulary(
      out, tier, *options, name=names[name], changes=first
    )

  def pretrained(
    column: str, *options: str, name: str = 'vqdna', **changes: Any
  ) -> sources.Object:
    run = sources.pretraining(
      out, tier, *options, name=names[name], changes={**second, **changes}
    )
    return {**run, 'run': f'ablation-{column}'}

  ratio = 'objective.masking.rate'
  # The published encoder has no reader, whose units are of three bases.
  has_reader = tier in ('smoke', 'cpu')
  in_bases = {'objective.masking.span': 3}
  if has_reader:
    in_bases |= {'objective.reader.pool': 1, 'objective.reader.size': 3}
  runs = {
    'half_codes': pretrained('half_codes', name='half_codes'),
    'narrow_codes': pretrained('narrow_codes', name='narrow_codes'),
    'stride_3': pretrained('stride_3', name='stride_3', **in_bases),
    'masked_bases': pretrained('masked_bases', 'bases', name='masked_bases'),
    'single_tokens': pretrained(
      'single_tokens', **{'objective.masking.span': 1}
    ),
    'hides_15': pretrained('hides_15', **{ratio: 0.15}),
    'hides_40': pretrained('hides_40', **{ratio: 0.4}),
    'hybrid': pretrained('hybrid', 'hybrid'),
    'vqdna': pretrained('vqdna'),
  }
  return {
    **sources.frame(data, out, tier, tuple(map(learnt, names))),
    'title': 'VQDNA: ablations',
    'note': _NOTE + _PUBLISHED,
    'runs': runs,
    'random_weights_of': 'vqdna',
    **sources.gue_tasks(data, folders, tier),
  }
