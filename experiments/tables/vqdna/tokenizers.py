"""Words of five kinds at equal steps: which vocabulary does the task want?

VQDNA (arXiv:2405.10812) compares tokenizers on the covid task, which is not at
hand at the tiers smoke and cpu; its values stand in the note. Byte pairs, which
are of no fixed length, are not here: our packed rows start words at multiples
of three bases.
"""

import pathlib
from typing import Any

from experiments.tables import gue
from experiments.tables.vqdna import sources

_FOLDERS = {
  'smoke': ('mouse/2',),
  'cpu': ('mouse/2', 'mouse/0', 'prom/prom_core_tata'),
}
_NOTE = (
  'One encoder, pretrained for equal steps and tuned alike, on words of five '
  'kinds: single bases, overlapping 6-mers (vectors learnt with the encoder), '
  'codes of an encoder trained for one step, one learnt codebook, and two (the '
  'paper). Beside them the last with random weights, and counts of k-mers. '
  'Published for the covid task (F1 x 100, fine-tuned; VQDNA, '
  'arXiv:2405.10812, its Table 1 as a survey quotes it): DNABERT 6-mer 55.50, '
  'NT-2500M (1000g) 6-mer 66.73, HyenaDNA one-hot 54.10, VQDNA VQVAE 73.16 and '
  'HRQ 74.32; models of other sizes and data, so that they do not compare '
  'words.'
)


def get_table(
  data: pathlib.Path, out: pathlib.Path, tier: str
) -> dict[str, Any]:
  """Data sets, vocabularies, runs and tasks."""
  folders = _FOLDERS.get(tier, ('virus/covid', *gue.GROUPS['tf_mouse']))
  untrained = {
    'train.steps': 1,
    'optimizer.warmup_steps': 0,
    **sources.FEW_ROWS,
  }
  return {
    **sources.frame(
      data,
      out,
      tier,
      (
        sources.vocabulary(out, tier),
        sources.vocabulary(
          out, tier, name='vocabulary-random', changes=untrained
        ),
        sources.vocabulary(
          out, tier, 'vq', name='vocabulary-vq', changes=sources.FEW_ROWS
        ),
      ),
    ),
    'title': 'VQDNA: tokenizers',
    'note': _NOTE,
    'runs': {
      'character': sources.pretraining(out, tier, 'characters'),
      'sixmers': sources.pretraining(out, tier, 'sixmers'),
      'random_codes': sources.pretraining(out, tier, name='vocabulary-random'),
      'one_codebook': sources.pretraining(out, tier, name='vocabulary-vq'),
      'vqdna': sources.pretraining(out, tier),
    },
    'random_weights_of': 'vqdna',
    **sources.gue_tasks(data, folders, tier),
  }
