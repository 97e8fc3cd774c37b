"""Which words of bases a code stands at, exactly, not base by base."""

import csv
import pathlib

import numpy as np
from jaxtyping import Int

from vqdna.network import NUM_BASES

# Bases of a word, two to either side of the first of its token.
LENGTH = 5
NUM_WORDS = NUM_BASES**LENGTH
_SHOWN, _COLUMNS = 4, ('word', 'share')


def add_words(
  counts: Int[np.ndarray, 'Q word'],
  ids: Int[np.ndarray, 'B T'],
  batch: dict[str, np.ndarray],
  stride: int,
) -> None:
  """Adds how often each code of a batch stood at each word, in place.

  Counted are words of known bases of one segment.
  """
  sequence, segment_ids = batch['sequence'], batch['segment_ids']
  reach = LENGTH // 2
  first = np.arange(ids.shape[1]) * stride
  has_room = (first >= reach) & (first < sequence.shape[1] - reach)
  places = first[has_room, None] + np.arange(-reach, reach + 1)
  bases, segments = sequence[:, places], segment_ids[:, places]
  is_word = (bases < NUM_BASES).all(-1) & (segments > 0).all(-1)
  is_word &= (segments == segments[..., :1]).all(-1)
  word = bases @ NUM_BASES ** np.arange(LENGTH)[::-1]
  pair = ids[:, has_room].astype(np.int64) * counts.shape[1] + word
  found = np.bincount(pair[is_word], minlength=counts.size)
  counts += found.reshape(counts.shape)


def write(counts: Int[np.ndarray, 'Q word'], path: pathlib.Path) -> None:
  """A line per code: its number, how often it occurs, its commonest words."""
  head = [f'{what}_{n}' for n in range(1, _SHOWN + 1) for what in _COLUMNS]
  with path.open('w', newline='') as file:
    lines = csv.writer(file, delimiter='\t', lineterminator='\n')
    lines.writerow(['code', 'occurrences', *head])
    for code, of_words in enumerate(counts):
      total = of_words.sum()
      commonest = np.argsort(-of_words, kind='stable')[:_SHOWN]
      commonest = commonest[of_words[commonest] > 0]
      cells = [
        text
        for word in commonest
        for text in (_letters(int(word)), f'{of_words[word] / total:.3f}')
      ]
      lines.writerow([code, total, *cells])


def _letters(word: int) -> str:
  digits = word // NUM_BASES ** np.arange(LENGTH)[::-1] % NUM_BASES
  return ''.join('ACGT'[digit] for digit in digits)
