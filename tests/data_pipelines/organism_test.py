"""The simulated organism: labels agree with the sequence they describe."""

import dataclasses
import os
import pathlib

import numpy as np
import pytest

from data_pipelines import central_dogma, organism, records
from data_pipelines.builders import omics
from data_pipelines.organism import derive, grammar, labels, locus, statistics

CONFIG = organism.OrganismConfig(
  train_chromosomes=(60_000, 30_000),
  validation_chromosomes=(20_000,),
  test_chromosomes=(30_000,),
  num_families=40,
  num_proteins=20,
)


@pytest.fixture(scope='module')
def made() -> organism.Organism:
  return organism.simulate(CONFIG)


def _coding_genes(made):
  for chromosome in made.chromosomes:
    for gene in chromosome.genes:
      if gene.coding_exons:
        yield chromosome, gene


def test_same_config_same_organism(made):
  again = organism.simulate(CONFIG)
  other = organism.simulate(dataclasses.replace(CONFIG, seed=1))
  assert again.fasta() == made.fasta()
  assert again.gff() == made.gff()
  assert other.fasta() != made.fasta()


def test_spliced_cds_translates_to_the_protein(made):
  strands = set()
  for chromosome, gene in _coding_genes(made):
    coding = chromosome.coding_sequence(gene)
    residues = central_dogma.translate(coding, 1)
    np.testing.assert_array_equal(residues, gene.residues)
    assert records.AMINO_ACIDS[residues[-1]] == '*'
    assert '*' not in [records.AMINO_ACIDS[r] for r in residues[:-1]]
    strands.add(gene.strand)
  assert strands == {1, -1}


def test_phase_track_counts_along_each_cds(made):
  for chromosome, gene in _coding_genes(made):
    exons = [
      chromosome.codon_phase[start:end][:: gene.strand]
      for start, end in gene.coding_exons
    ]
    phase = np.concatenate(exons)
    np.testing.assert_array_equal(phase, np.arange(phase.size) % 3)
  for chromosome in made.chromosomes:
    is_coding = chromosome.region == labels.CODING
    assert (is_coding == (chromosome.codon_phase != records.PHASE_NONE)).all()


def test_introns_begin_with_gt_and_end_with_ag(made):
  total = 0
  for chromosome in made.chromosomes:
    for position, strand in chromosome.donors.tolist():
      site = chromosome.window(position, strand, 0, 2)
      assert central_dogma.decode(site) == 'GT'
    for position, strand in chromosome.acceptors.tolist():
      site = chromosome.window(position, strand, 1, 1)
      assert central_dogma.decode(site) == 'AG'
    total += len(chromosome.donors)
    is_intron = np.pad(chromosome.region == labels.INTRON, 1).astype(np.int8)
    assert (np.diff(is_intron) == 1).sum() == len(chromosome.donors)
  assert total > 50


def _at_tss(made, motif, offset, shift):
  """Share of promoters with `motif` around an offset from the TSS."""
  consensus, found = grammar.bases(motif.consensus), []
  for chromosome, gene in _coding_genes(made):
    best = 0.0
    for at in range(offset - shift, offset + shift + 1):
      site = chromosome.window(gene.tss, gene.strand, -at, at + consensus.size)
      best = max(best, float((site == consensus).mean()))
    found.append(best >= 0.75)
  return np.mean(found)


def test_core_promoter_stands_where_it_is_claimed(made):
  tata, initiator = grammar.TATA, grammar.INITIATOR
  share = CONFIG.layout.tata_share
  assert _at_tss(made, tata, locus.TATA_POSITION, 3) > 0.9 * share
  assert _at_tss(made, tata, locus.TATA_POSITION - 60, 3) < 0.2
  assert _at_tss(made, initiator, locus.INITIATOR_POSITION, 0) > 0.7
  assert _at_tss(made, initiator, locus.INITIATOR_POSITION - 60, 0) < 0.2


def test_expression_is_the_stated_function_and_noise(made):
  genes = [gene for _, gene in _coding_genes(made)]
  known = np.array(
    [
      CONFIG.promoter_weight * gene.promoter_strength
      + CONFIG.enhancer_weight * gene.enhancer_strength
      + CONFIG.adaptation_weight * gene.adaptation
      for gene in genes
    ]
  )
  noise = np.array([gene.expression for gene in genes]) - known
  assert abs(noise.std() / CONFIG.noise - 1) < 0.3
  assert any(gene.enhancer_strength > 0 for gene in genes)


def test_adapted_genes_prefer_common_codons():
  usage = statistics.load()['codon_usage']
  rng = np.random.default_rng(0)
  codons = grammar.Codons(usage, sharpness=2.0)
  residues = rng.integers(0, 20, 4000).astype(np.uint8)
  sequences = {a: codons.draw(residues, a, rng) for a in (0.0, 1.0)}
  for sequence in sequences.values():
    translated = central_dogma.translate(sequence, 1)
    np.testing.assert_array_equal(translated, residues)
  mean = {
    a: np.log(usage[central_dogma.codon_ids(s)]).mean()
    for a, s in sequences.items()
  }
  assert mean[1.0] > mean[0.0] + 0.1


def test_stem_loops_pair():
  rna = grammar.stem_loops(1, np.random.default_rng(3))
  arm = rna[:6]
  other = central_dogma.reverse_complement(arm)
  windows = np.lib.stride_tricks.sliding_window_view(rna[6:], 6)
  assert (windows == other).all(-1).any()


def test_families_are_shared_as_configured(made):
  assert made.shared_gene_share('train') > 0.2
  own = {
    split: {
      gene.family
      for chromosome in made.of_split(split)
      for gene in chromosome.genes
      if gene.family >= 0
    }
    - made.shared_families
    for split in records.SPLITS
  }
  assert not own['train'] & (own['test'] | own['validation'])
  assert own['test']


def test_gff_names_the_coding_bases(made):
  for chromosome in made.chromosomes:
    mask = np.zeros(chromosome.sequence.size, bool)
    for line in made.gff().splitlines()[1:]:
      columns = line.split('\t')
      if columns[0] == chromosome.name and columns[2] == 'CDS':
        mask[int(columns[3]) - 1 : int(columns[4])] = True
    assert (mask == (chromosome.region == labels.CODING)).all()


def test_build_writes_every_kind_and_reuses(made, tmp_path):
  path = organism.build(tmp_path, CONFIG, made)
  manifest = omics.load_manifest(path)
  kinds = manifest['counts']['kinds']['train']
  assert all(kinds[kind] > 0 for kind in records.KINDS)
  genome = sum(c.sequence.size for c in made.of_split('train'))
  assert manifest['splits']['train']['bases'] > genome
  stamp = (path / manifest['version'] / 'manifest.json').stat().st_mtime_ns
  organism.build(tmp_path, CONFIG)
  again = (path / manifest['version'] / 'manifest.json').stat().st_mtime_ns
  assert again == stamp
  organism.build(tmp_path, dataclasses.replace(CONFIG, num_proteins=30))
  changed = omics.load_manifest(path)
  assert changed['provenance'] != manifest['provenance']


def test_committed_statistics_are_those_of_the_genomes():
  default = pathlib.Path(__file__).resolve().parents[3] / 'shared' / 'data'
  folder = pathlib.Path(os.environ.get('MULTIOMICS_DATA', default))
  if not folder.exists():
    if os.environ.get('CI') == 'true':
      pytest.fail(f'{folder} is missing; set MULTIOMICS_DATA')
    pytest.skip(f'no real genomes in {folder}')
  derived = derive.derive(folder)
  for name, value in statistics.load().items():
    np.testing.assert_allclose(derived[name], value, atol=1e-5)
