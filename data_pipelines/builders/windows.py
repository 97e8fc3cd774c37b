"""Genome records: consecutive windows of the regions of a split."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from data_pipelines.builders.manifest import Reject
from data_pipelines.builders.splits import Regions
from data_pipelines.readers.fasta import Contig
from data_pipelines.records import GENOME, PHASE_NONE, N, Record


class Span(NamedTuple):
  """Bases `[begin, stop)` of a contig, all of one split."""

  contig: str
  begin: int
  stop: int


def spans(
  regions: Mapping[str, Regions], split: str, *, num_bases: int
) -> Iterator[Span]:
  """Regions of a split in order, in pieces of at most `num_bases`."""
  for contig, region in regions.items():
    for (begin, stop), of in zip(region.bounds(), region.splits, strict=True):
      for start in range(begin, stop, num_bases) if of == split else ():
        yield Span(contig, start, min(start + num_bases, stop))


def cut(
  contig: Contig,
  span: Span,
  *,
  num_bases: int,
  table: int,
  source: str,
  rejects: list[Reject],
) -> Iterator[Record]:
  """Consecutive windows of a span, the last as long as is left.

  Those without a known base go to `rejects`.
  """
  for start in range(span.begin, span.stop, num_bases):
    end = min(start + num_bases, span.stop)
    name = f'{contig.name}:{start}-{end}'
    sequence = contig.sequence[start:end]
    if (sequence == N).all():
      rejects.append(Reject(name, 'genome', 'only_n', f'{end - start} bases'))
      continue
    yield Record(
      name=name,
      sequence=sequence,
      soft_mask=contig.soft_mask[start:end],
      kind=GENOME,
      codon_phase=np.full(end - start, PHASE_NONE, np.uint8),
      genetic_code=table,
      amino_acids=np.zeros(0, np.uint8),
      codon_is_sampled=False,
      source=source,
      contig=contig.name,
      start=start,
      end=end,
      strand=1,
    )
