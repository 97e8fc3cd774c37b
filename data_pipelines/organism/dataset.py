"""The organism as record shards, as a builder makes them of real genomes."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Iterator

import numpy as np

from data_pipelines import central_dogma, records
from data_pipelines.errors import InputError
from data_pipelines.organism import genome, grammar, labels, statistics

NAME = 'organism'
# Part of the provenance: raise it when the same config makes another organism.
VERSION = 1
WINDOW = 6144


def build(
  out: pathlib.Path,
  config: genome.OrganismConfig,
  organism: labels.Organism | None = None,
) -> pathlib.Path:
  """Writes `out/organism`, unless it is there already, and returns its path.

  `organism` saves simulating it a second time.
  """
  # Imported here: simulating and making tasks should not wait for TFDS.
  from data_pipelines.builders import omics

  out = pathlib.Path(out)
  provenance = _provenance(config)
  if (out / NAME).exists():
    try:
      found = omics.load_manifest(out / NAME)['provenance']
    except InputError:
      found = None
    if found == provenance:
      return out / NAME
  organism = organism or genome.simulate(config)
  split_records = {
    split: list(_records(organism, split, config.seed))
    for split in records.SPLITS
  }
  omics.write(split_records, out, NAME, provenance=provenance, overwrite=True)
  return out / NAME


def _provenance(config: genome.OrganismConfig) -> dict[str, object]:
  text = statistics.STATISTICS_FILE.read_bytes()
  return {
    'simulator': NAME,
    'simulator_version': VERSION,
    'window': WINDOW,
    # Through JSON, so that it equals what the manifest gives back.
    'config': json.loads(json.dumps(dataclasses.asdict(config))),
    'statistics_sha256': hashlib.sha256(text).hexdigest(),
  }


def _records(
  organism: labels.Organism, split: str, seed: int
) -> Iterator[records.Record]:
  for chromosome in organism.of_split(split):
    for start in range(0, chromosome.sequence.size, WINDOW):
      yield _genome_record(chromosome, start)
    for gene in chromosome.genes:
      yield _transcript_record(chromosome, gene)
  rng = np.random.default_rng([seed, records.SPLITS.index(split)])
  codons = grammar.Codons(organism.codon_usage, sharpness=0.0)
  for index, residues in enumerate(organism.proteins[split]):
    yield _protein_record(f'{split}_p{index + 1:05d}', residues, codons, rng)


def _record(name: str, sequence: np.ndarray, **known) -> records.Record:
  values = {
    'soft_mask': np.zeros(sequence.size, bool),
    'codon_phase': np.full(sequence.size, records.PHASE_NONE, np.uint8),
    'genetic_code': genome.GENETIC_CODE,
    'amino_acids': np.zeros(0, np.uint8),
    'codon_is_sampled': False,
    'source': NAME,
    'contig': '',
    'start': 0,
    'end': 0,
    'strand': 0,
  }
  return records.Record(name=name, sequence=sequence, **(values | known))


def _genome_record(chromosome: labels.Chromosome, start: int) -> records.Record:
  # No phase: a window has genes on both strands, and the labels stay unseen.
  end = min(start + WINDOW, chromosome.sequence.size)
  return _record(
    f'{chromosome.name}:{start}-{end}',
    chromosome.sequence[start:end].copy(),
    kind=records.GENOME,
    contig=chromosome.name,
    start=start,
    end=end,
    strand=1,
  )


def _transcript_record(
  chromosome: labels.Chromosome, gene: labels.Gene
) -> records.Record:
  place = {
    'contig': chromosome.name,
    'start': gene.start,
    'end': gene.end,
    'strand': gene.strand,
  }
  if not gene.coding_exons:
    sequence = chromosome.sense(gene.start, gene.end, gene.strand).copy()
    return _record(gene.name, sequence, kind=records.RNA, **place)
  coding = chromosome.coding_sequence(gene)
  return _record(
    gene.name,
    coding,
    kind=records.CDS,
    codon_phase=(np.arange(coding.size) % 3).astype(np.uint8),
    amino_acids=central_dogma.translate(coding, genome.GENETIC_CODE),
    **place,
  )


def _protein_record(
  name: str,
  residues: np.ndarray,
  codons: grammar.Codons,
  rng: np.random.Generator,
) -> records.Record:
  sequence = codons.draw(residues, 0.0, rng)
  return _record(
    name,
    sequence,
    kind=records.PROTEIN,
    codon_phase=(np.arange(sequence.size) % 3).astype(np.uint8),
    amino_acids=residues,
    codon_is_sampled=True,
  )
