"""Derives organism_statistics.json from real genomes.

  python -m data_pipelines.organism.derive DATA_FOLDER

Yeast gives codon usage, CDS and spacer lengths, promoter and spacer Markov
tables and the start context; E. coli a second codon usage; worm, fly and cress
the introns: lengths, splice-site matrices, base order, untranslated regions.
"""

import collections
import gzip
import itertools
import json
import pathlib
import sys
from collections.abc import Iterable, Iterator

import numpy as np
from Bio.SeqIO.FastaIO import SimpleFastaParser
from jaxtyping import Float, UInt8

from data_pipelines import central_dogma
from data_pipelines.organism.statistics import (
  ACCEPTOR_EXON,
  ACCEPTOR_INTRON,
  DONOR_EXON,
  DONOR_INTRON,
  ORDER,
  PROMOTER,
  START_CONTEXT,
  STATISTICS_FILE,
)

Span = tuple[int, int]


def _fasta(path: pathlib.Path) -> dict[str, UInt8[np.ndarray, 'n']]:
  with gzip.open(path, 'rt') as handle:
    return {
      title.split()[0]: central_dogma.encode(text)
      for title, text in SimpleFastaParser(handle)
    }


def _gff(path: pathlib.Path) -> Iterator[list[str]]:
  with gzip.open(path, 'rt') as handle:
    for line in handle:
      columns = line.rstrip('\n').split('\t')
      if len(columns) == 9:
        yield columns


def _sense(
  sequence: UInt8[np.ndarray, 'n'], start: int, end: int, strand: str
) -> UInt8[np.ndarray, 'm']:
  part = sequence[max(start, 0) : end]
  if strand == '-':
    return central_dogma.reverse_complement(part)
  return part


def _markov(
  parts: Iterable[UInt8[np.ndarray, '_']],
) -> Float[np.ndarray, 'context base']:
  counts = np.ones((4**ORDER, 4))
  for part in parts:
    if part.size <= ORDER:
      continue
    grams = np.lib.stride_tricks.sliding_window_view(part, ORDER + 1)
    grams = grams[(grams < 4).all(-1)]
    contexts = grams[:, :-1] @ (4 ** np.arange(ORDER)[::-1])
    np.add.at(counts, (contexts, grams[:, -1]), 1)
  return counts / counts.sum(-1, keepdims=True)


def _matrix(
  parts: list[UInt8[np.ndarray, '_']],
) -> Float[np.ndarray, 'position base']:
  stacked = np.stack(parts)
  counts = (stacked[..., None] == np.arange(4)).sum(0) + 0.5
  return counts / counts.sum(-1, keepdims=True)


def _quantiles(lengths: Iterable[int]) -> list[int]:
  return [int(q) for q in np.quantile(list(lengths), np.linspace(0, 1, 41))]


def _usage(
  coding: Iterable[UInt8[np.ndarray, '_']],
) -> Float[np.ndarray, '64']:
  counts = np.zeros(64)
  for sequence in coding:
    if sequence.size % 3 or (sequence > 3).any():
      continue
    codons = sequence.reshape(-1, 3)[1:] @ np.array([16, 4, 1])
    counts += np.bincount(codons, minlength=64)
  return counts / counts.sum()


def _ecoli_usage(folder: pathlib.Path) -> Float[np.ndarray, '64']:
  genome = _fasta(next(folder.glob('*_genomic.fna.gz')))
  coding = [
    _sense(genome[row[0]], int(row[3]) - 1, int(row[4]), row[6])
    for row in _gff(next(folder.glob('*_genomic.gff.gz')))
    if row[2] == 'CDS' and 'pseudo=true' not in row[8]
  ]
  return _usage(coding)


def _spacers(genes: list[Span]) -> list[Span]:
  """The gaps between genes, overlapping ones merged."""
  gaps, reached = [], 0
  for start, end in sorted(genes):
    if start > reached:
      gaps.append((reached, start))
    reached = max(reached, end)
  return gaps


def _yeast(folder: pathlib.Path) -> dict[str, object]:
  genome = _fasta(folder / 'S288C.genome.fa.gz')
  coding = _fasta(folder / 'S288C.cds.fa.gz').values()
  genes = collections.defaultdict(list)
  promoters, starts = [], []
  for row in _gff(folder / 'S288C.all_feature.gff.gz'):
    contig, start, end, strand = row[0], int(row[3]) - 1, int(row[4]), row[6]
    if row[2] != 'gene' or contig not in genome:
      continue
    genes[contig].append((start, end))
    before = (start - PROMOTER, start)
    if strand == '-':
      before = (end, end + PROMOTER)
    upstream = _sense(genome[contig], *before, strand)
    if upstream.size == PROMOTER:
      promoters.append(upstream)
      starts.append(upstream[-START_CONTEXT:])
  gaps = [(contig, gap) for contig in genes for gap in _spacers(genes[contig])]
  return {
    'codon_usage': _usage(coding),
    'cds_codons': _quantiles(s.size // 3 for s in coding),
    'spacer_length': _quantiles(end - start for _, (start, end) in gaps),
    'promoter': _markov(promoters),
    'start_context': _matrix(starts),
    'spacer': _markov(genome[contig][slice(*gap)] for contig, gap in gaps),
  }


def _parents(attributes: str) -> list[str]:
  for item in attributes.split(';'):
    if item.startswith('Parent='):
      return item[len('Parent=') :].split(',')
  return []


def _introns(folder: pathlib.Path, species: str) -> tuple[set, dict]:
  """Coding introns as (contig, start, end, strand), and region lengths."""
  exons = collections.defaultdict(list)
  regions = collections.defaultdict(set)
  for row in _gff(folder / f'{species}.1pct.gff3.gz'):
    span = (row[0], int(row[3]) - 1, int(row[4]), row[6])
    if row[2] in ('five_prime_UTR', 'three_prime_UTR', 'CDS'):
      regions[row[2]].add(span)
    if row[2] == 'CDS':
      for parent in _parents(row[8]):
        exons[parent].append(span)
  introns = set()
  for spans in exons.values():
    ordered = sorted(spans)
    for left, right in itertools.pairwise(ordered):
      if right[1] - left[2] >= 2 * ACCEPTOR_INTRON:
        introns.add((left[0], left[2], right[1], left[3]))
  return introns, regions


def _splicing(folder: pathlib.Path) -> dict[str, object]:
  donors, acceptors, bodies = [], [], []
  lengths = collections.defaultdict(list)
  for species in ('celegans', 'dmelanogaster', 'athaliana'):
    genome = _fasta(folder / f'{species}.1pct.fa.gz')
    introns, regions = _introns(folder, species)
    for contig, start, end, strand in sorted(introns):
      flank = max(DONOR_EXON, ACCEPTOR_EXON)
      part = _sense(genome[contig], start - flank, end + flank, strand)
      inside = part[flank:-flank]
      if list(inside[:2]) != [2, 3] or list(inside[-2:]) != [0, 2]:
        continue
      donors.append(part[: flank + DONOR_INTRON])
      acceptors.append(part[-flank - ACCEPTOR_INTRON :])
      bodies.append(inside[DONOR_INTRON:-ACCEPTOR_INTRON])
      lengths['intron'].append(inside.size)
    for region, spans in regions.items():
      lengths[region] += [end - start for _, start, end, _ in spans]
  return {
    'donor': _matrix(donors),
    'acceptor': _matrix(acceptors),
    'intron': _markov(bodies),
    'intron_length': _quantiles(lengths['intron']),
    'coding_exon_length': _quantiles(lengths['CDS']),
    'five_prime_length': _quantiles(lengths['five_prime_UTR']),
    'three_prime_length': _quantiles(lengths['three_prime_UTR']),
  }


def derive(folder: pathlib.Path) -> dict[str, object]:
  """All statistics as JSON values, rounded to five decimals."""
  found = _yeast(folder / 'yeast_s288c')
  found |= _splicing(folder / 'worm_fly_cress_1pct')
  found['codon_usage_ecoli'] = _ecoli_usage(folder / 'ecoli_k12')
  return {
    name: np.round(value, 5).tolist()
    if isinstance(value, np.ndarray)
    else value
    for name, value in sorted(found.items())
  }


if __name__ == '__main__':
  STATISTICS_FILE.write_text(
    json.dumps(derive(pathlib.Path(sys.argv[1])), separators=(',', ':')) + '\n'
  )
