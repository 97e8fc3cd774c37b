"""Which part of a genome trains and which is held out."""

import bisect
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence

from data_pipelines.errors import InputError

BLOCK_BASES = 100_000
# A short genome is cut into this many blocks, so that some can be held out.
_MIN_BLOCKS = 20


@dataclasses.dataclass(frozen=True)
class SplitConfig:
  """How regions are dealt out.

  Attributes:
    method: `contig` holds out whole contigs, balanced by length; `block` holds
      out blocks of about 100,000 bases; `hash` draws every contig by its name;
      `auto` takes `contig` from three contigs on, `hash` above a thousand,
      else `block`.
    validation: Share of the bases held out for validation.
    test: Share of the bases held out for the test.
    validation_contigs: Contigs named for validation; implies `contig`.
    test_contigs: Contigs named for the test; implies `contig`.
  """

  method: str = 'auto'
  validation: float = 0.05
  test: float = 0.05
  validation_contigs: tuple[str, ...] = ()
  test_contigs: tuple[str, ...] = ()

  def __post_init__(self):
    if self.method not in ('auto', 'contig', 'block', 'hash'):
      raise InputError(
        f'--split={self.method}: choose auto, contig, block or hash'
      )
    if min(self.validation, self.test) < 0 or self.validation + self.test >= 1:
      raise InputError(
        f'--held_out={self.validation},{self.test}: two shares of at least 0 '
        'that leave something to train on'
      )


@dataclasses.dataclass(frozen=True)
class Regions:
  """The regions of one contig: where each starts, and its split."""

  starts: tuple[int, ...]
  splits: tuple[str, ...]
  length: int

  def split_of(self, start: int, end: int) -> str | None:
    """Split of `[start, end)`, or None if it reaches into two."""
    first = bisect.bisect_right(self.starts, start) - 1
    last = bisect.bisect_left(self.starts, end) - 1
    found = set(self.splits[first : last + 1])
    return found.pop() if len(found) == 1 else None

  def bounds(self) -> list[tuple[int, int]]:
    """Start and end of each region."""
    ends = [*self.starts[1:], self.length]
    return list(zip(self.starts, ends, strict=True))


def deal(lengths: Mapping[str, int], config: SplitConfig) -> dict[str, Regions]:
  """Regions of each contig; the same contigs are always dealt alike."""
  method = config.method
  if config.validation_contigs or config.test_contigs:
    return _whole(lengths, _named_contigs(lengths, config))
  if method == 'auto':
    method = 'contig' if len(lengths) >= 3 else 'block'
    method = 'hash' if len(lengths) > 1000 else method
  if method == 'contig':
    return _whole(lengths, _balanced(lengths, config))
  if method == 'hash':
    return _whole(lengths, {c: split_by_name(c, config) for c in lengths})
  return _blocks(lengths, config)


def split_by_name(name: str, config: SplitConfig) -> str:
  """Split drawn by the hash of a name."""
  share = _hash(name) / 2**64
  if share < config.validation:
    return 'validation'
  return 'test' if share < config.validation + config.test else 'train'


def _hash(name: str) -> int:
  return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], 'big')


def _whole(
  lengths: Mapping[str, int], splits: Mapping[str, str]
) -> dict[str, Regions]:
  return {
    contig: Regions((0,), (splits.get(contig, 'train'),), length)
    for contig, length in lengths.items()
  }


def _named_contigs(
  lengths: Mapping[str, int], config: SplitConfig
) -> dict[str, str]:
  named = dict.fromkeys(config.validation_contigs, 'validation')
  for contig in config.test_contigs:
    if contig in named:
      raise InputError(
        f'contig {contig!r} is named for validation and for test'
      )
    named[contig] = 'test'
  if missing := sorted(set(named) - set(lengths)):
    hint = ', '.join(sorted(lengths)[:5])
    raise InputError(
      f'no contig {missing[0]!r} in the FASTA (which has {hint})'
    )
  return named


def _balanced(
  lengths: Mapping[str, int], config: SplitConfig
) -> dict[str, str]:
  total = sum(lengths.values())
  free = sorted(lengths, key=_hash)
  splits = {}
  for split, share in (
    ('validation', config.validation),
    ('test', config.test),
  ):
    for contig in _fill(free, lengths, share * total) if share else ():
      splits[contig] = split
      free.remove(contig)
  return splits


def _fill(
  free: Sequence[str], lengths: Mapping[str, int], target: float
) -> list[str]:
  """Contigs that come to about `target` bases; at least one, but not all."""
  taken: list[str] = []
  missing = target
  for contig in free[: max(len(free) - 1, 0)]:
    if lengths[contig] <= missing * 1.25:
      taken.append(contig)
      missing -= lengths[contig]
  rest = [contig for contig in free if contig not in taken]
  if missing > target / 2 and len(rest) > 1:
    # Contigs are long here: the shortest that is not a mere scrap.
    rest.sort(
      key=lambda contig: (lengths[contig] < missing / 2, lengths[contig])
    )
    taken.append(rest[0])
  return taken


def _blocks(
  lengths: Mapping[str, int], config: SplitConfig
) -> dict[str, Regions]:
  starts = {}
  for contig, length in lengths.items():
    num_blocks = min(max(_MIN_BLOCKS, -(-length // BLOCK_BASES)), length)
    starts[contig] = [length * i // num_blocks for i in range(num_blocks)]
  blocks = [f'{c}:{s}' for c in starts for s in starts[c]]
  order = sorted(blocks, key=_hash)
  splits = dict.fromkeys(blocks, 'train')
  for split, share in (
    ('validation', config.validation),
    ('test', config.test),
  ):
    num_held_out = max(1, round(share * len(blocks))) if share else 0
    for block in order[:num_held_out]:
      splits[block] = split
    order = order[num_held_out:]
  return {
    contig: Regions(
      tuple(begins),
      tuple(splits[f'{contig}:{s}'] for s in begins),
      lengths[contig],
    )
    for contig, begins in starts.items()
  }
