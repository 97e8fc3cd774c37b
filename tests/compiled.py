"""What a compiled program moves between devices."""

import collections
import math
import re

_BYTES = {'f64': 8, 's64': 8, 'f32': 4, 's32': 4, 'u32': 4, 'bf16': 2}
_KINDS = 'all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter'
_OP = re.compile(rf'= (.+?) ({_KINDS})(?:-start)?\(')
_ARRAY = re.compile(r'(\w+)\[([\d,]*)\]')


def collectives(text: str) -> dict[str, int]:
  """Bytes of the results of each kind of collective in HLO text."""
  total = collections.Counter()
  for result, kind in _OP.findall(text):
    for dtype, shape in _ARRAY.findall(result):
      size = math.prod(int(n) for n in shape.split(',') if n)
      total[kind] += size * _BYTES.get(dtype, 1)
  return dict(total)
