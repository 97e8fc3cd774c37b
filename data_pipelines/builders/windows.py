"""Genome records: consecutive windows of the regions of a split."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from data_pipelines.builders.omics import Reject
from data_pipelines.builders.splits import Regions
from data_pipelines.readers.fasta import Contig
from data_pipelines.records import GENOME, PHASE_NONE, N, Record


def cut(
  contigs: Iterable[Contig],
  regions: Mapping[str, Regions],
  split: str,
  *,
  num_bases: int,
  tables: Mapping[str, int],
  source: str,
  rejects: list[Reject],
) -> Iterator[Record]:
  """Consecutive windows of the regions of a split; none crosses a region.

  Those without a known base go to `rejects`.
  """
  for contig in contigs:
    region = regions[contig.name]
    for (begin, stop), of in zip(region.bounds(), region.splits, strict=True):
      for start in range(begin, stop, num_bases) if of == split else ():
        end = min(start + num_bases, stop)
        name = f'{contig.name}:{start}-{end}'
        sequence = contig.sequence[start:end]
        if (sequence == N).all():
          rejects.append(
            Reject(name, 'genome', 'only_n', f'{end - start} bases')
          )
          continue
        yield Record(
          name=name,
          sequence=sequence,
          soft_mask=contig.soft_mask[start:end],
          kind=GENOME,
          codon_phase=np.full(end - start, PHASE_NONE, np.uint8),
          genetic_code=tables[contig.name],
          amino_acids=np.zeros(0, np.uint8),
          codon_is_sampled=False,
          source=source,
          contig=contig.name,
          start=start,
          end=end,
          strand=1,
        )
