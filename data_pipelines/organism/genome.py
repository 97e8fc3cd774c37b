"""Simulates an organism: genes laid along chromosomes, with exact labels."""

import dataclasses

import numpy as np
from jaxtyping import UInt8

from data_pipelines import central_dogma, records
from data_pipelines.organism import grammar, labels, locus, statistics

GENETIC_CODE = 1
_STOP = records.AMINO_ACIDS.index('*')
_METHIONINE = records.AMINO_ACIDS.index('M')


@dataclasses.dataclass(frozen=True)
class OrganismConfig:
  """What to simulate; the same config gives the same organism.

  Attributes:
    seed: Of everything random.
    train_chromosomes: Bases of each training chromosome, roughly.
    validation_chromosomes: The same for validation.
    test_chromosomes: The same for test.
    num_families: Protein families; members differ by mutation.
    shared_families: Share of families with genes in every split; the others
      belong to one split. A gene is of a shared family with this probability,
      so this share of held-out genes has relatives among training genes
      (`Organism.shared_gene_share` counts it).
    max_divergence: A gene differs from its family in up to this share of
      residues.
    length_scale: Of proteins, against those of yeast: a compact genome.
    codon_sharpness: How far an adapted gene's codons follow the usage.
    enhancer_share: Share of genes with a distal enhancer.
    ncrna_share: Chance of a non-coding RNA gene in a spacer.
    promoter_weight: Of the promoter in log expression.
    enhancer_weight: Of the enhancer in log expression.
    adaptation_weight: Of codon adaptation in log expression.
    noise: Standard deviation of the measurement of log expression.
    num_proteins: Proteins without a CDS, all splits together.
    layout: How a gene is laid out.
  """

  seed: int = 0
  train_chromosomes: tuple[int, ...] = (500_000,) * 4
  validation_chromosomes: tuple[int, ...] = (400_000,)
  test_chromosomes: tuple[int, ...] = (600_000,) * 2
  num_families: int = 300
  shared_families: float = 0.5
  max_divergence: float = 0.4
  length_scale: float = 0.45
  codon_sharpness: float = 2.0
  enhancer_share: float = 0.3
  ncrna_share: float = 0.15
  promoter_weight: float = 1.0
  enhancer_weight: float = 0.5
  adaptation_weight: float = 2.5
  noise: float = 0.4
  num_proteins: int = 200
  layout: locus.LocusConfig = dataclasses.field(
    default_factory=locus.LocusConfig
  )


@dataclasses.dataclass(frozen=True)
class _Families:
  """Ancestral proteins, and which of them each split may use."""

  ancestors: list[np.ndarray]
  shared: np.ndarray
  private: dict[str, np.ndarray]


def _make_families(
  config: OrganismConfig,
  real: dict[str, np.ndarray],
  codons: grammar.Codons,
  rng: np.random.Generator,
) -> _Families:
  ancestors = []
  for _ in range(config.num_families):
    scaled = real['cds_codons'] * config.length_scale
    length = grammar.sample_length(scaled, 60, 400, rng)
    residues = rng.choice(20, length, p=codons.composition())
    residues[0] = _METHIONINE
    ancestors.append(residues.astype(np.uint8))
  order = rng.permutation(config.num_families)
  num_shared = round(config.shared_families * config.num_families)
  shared, own = order[:num_shared], order[num_shared:]
  # Training takes half of the families that are not shared.
  parts = np.split(own, [own.size // 2, own.size * 3 // 4])
  return _Families(
    ancestors, shared, dict(zip(records.SPLITS, parts, strict=True))
  )


class _Simulator:
  """Holds the generator and tables while chromosomes are laid out."""

  def __init__(self, config: OrganismConfig):
    self.config = config
    self.real = statistics.load()
    self.rng = np.random.default_rng(config.seed)
    self.codons = grammar.Codons(
      self.real['codon_usage'], config.codon_sharpness
    )
    self.families = _make_families(config, self.real, self.codons, self.rng)
    self._loci = locus.LocusMaker(config.layout, self.real, self.rng)
    self._replacements = grammar.substitutions(self.codons.composition())

  def member(self, split: str) -> tuple[int, UInt8[np.ndarray, 'm']]:
    """A protein without its stop: a mutated copy of one of the families."""
    is_shared = self.rng.random() < self.config.shared_families
    families = self.families
    pool = families.shared if is_shared else families.private[split]
    family = int(self.rng.choice(pool))
    share = self.rng.uniform(0.05, self.config.max_divergence)
    ancestor = families.ancestors[family]
    return family, grammar.mutate(ancestor, share, self._replacements, self.rng)

  def chromosome(self, name: str, split: str, bases: int) -> labels.Chromosome:
    builder = _Builder(name, split)
    self._add_spacer(builder)
    while builder.length < bases:
      strand = 1 if self.rng.random() < 0.5 else -1
      self._add_gene(builder, strand)
      if self.rng.random() < self.config.ncrna_share:
        self._add_spacer(builder)
        hairpins = grammar.stem_loops(int(self.rng.integers(2, 5)), self.rng)
        builder.add_ncrna(hairpins, strand)
      self._add_spacer(builder)
    return builder.finish()

  def _add_spacer(self, builder: '_Builder') -> None:
    length = grammar.sample_length(
      self.real['spacer_length'], 60, 800, self.rng
    )
    builder.add(self._loci.spacer(length), labels.SPACER)

  def _add_gene(self, builder: '_Builder', strand: int) -> None:
    """A gene, with its enhancer, if any, one spacer upstream."""
    config = self.config
    family, protein = self.member(builder.split)
    residues = np.append(protein, np.uint8(_STOP))
    adaptation = float(self.rng.random())
    coding = self.codons.draw(residues, adaptation, self.rng)
    made = self._loci.gene(coding)
    enhancer = None
    if self.rng.random() < config.enhancer_share:
      enhancer = self._loci.enhancer(int(self.rng.integers(3, 7)))
    if enhancer and strand > 0:
      builder.add(enhancer[0], labels.ENHANCER)
      self._add_spacer(builder)
    strength = enhancer[1] if enhancer else 0.0
    builder.add_gene(
      made,
      strand,
      residues=residues,
      family=family,
      promoter_strength=made.promoter_strength,
      enhancer_strength=strength,
      adaptation=adaptation,
      expression=config.promoter_weight * made.promoter_strength
      + config.enhancer_weight * strength
      + config.adaptation_weight * adaptation
      + config.noise * float(self.rng.normal()),
    )
    if enhancer and strand < 0:
      self._add_spacer(builder)
      builder.add(
        central_dogma.reverse_complement(enhancer[0]), labels.ENHANCER
      )


class _Builder:
  """Lays pieces along one chromosome and moves their labels to it."""

  def __init__(self, name: str, split: str):
    self.name, self.split, self.length = name, split, 0
    self._pieces: list[tuple[np.ndarray, ...]] = []
    self._donors: list[tuple[int, int]] = []
    self._acceptors: list[tuple[int, int]] = []
    self._genes: list[labels.Gene] = []

  def add(self, sequence: np.ndarray, region: int) -> None:
    size = sequence.size
    self._append(
      sequence,
      np.full(size, region, np.uint8),
      np.full(size, records.PHASE_NONE, np.uint8),
      0,
    )

  def _append(self, sequence, region, phase, strand: int) -> None:
    tracks = (sequence, region, phase)
    if strand < 0:
      tracks = (
        central_dogma.reverse_complement(sequence),
        region[::-1],
        phase[::-1],
      )
    self._pieces.append((*tracks, np.full(sequence.size, strand, np.int8)))
    self.length += sequence.size

  def add_ncrna(self, sequence: np.ndarray, strand: int) -> None:
    start, size = self.length, sequence.size
    region = np.full(size, labels.NCRNA, np.uint8)
    phase = np.full(size, records.PHASE_NONE, np.uint8)
    self._append(sequence, region, phase, strand)
    tss = start if strand > 0 else start + size - 1
    self._genes.append(
      labels.Gene(self._gene_name(), strand, tss, start, start + size)
    )

  def add_gene(self, made: locus.Locus, strand: int, **known) -> None:
    first, size = self.length, made.sequence.size

    def place(offset: int) -> int:
      return first + (offset if strand > 0 else size - 1 - offset)

    self._append(made.sequence, made.region, made.codon_phase, strand)
    self._donors += [(place(at), strand) for at in made.donors.tolist()]
    self._acceptors += [(place(at), strand) for at in made.acceptors.tolist()]
    exons = []
    for start, end in made.coding_exons().tolist():
      low, high = sorted((place(start), place(end - 1)))
      exons.append((low, high + 1))
    low, high = sorted((place(made.tss), place(size - 1)))
    self._genes.append(
      labels.Gene(
        name=self._gene_name(),
        strand=strand,
        tss=place(made.tss),
        start=low,
        end=high + 1,
        coding_exons=tuple(exons),
        **known,
      )
    )

  def _gene_name(self) -> str:
    return f'{self.name}_g{len(self._genes) + 1:05d}'

  def finish(self) -> labels.Chromosome:
    tracks = [
      np.concatenate(track) for track in zip(*self._pieces, strict=True)
    ]
    return labels.Chromosome(
      self.name,
      self.split,
      *tracks,
      donors=np.array(self._donors, np.int64).reshape(-1, 2),
      acceptors=np.array(self._acceptors, np.int64).reshape(-1, 2),
      genes=tuple(self._genes),
    )


def simulate(config: OrganismConfig) -> labels.Organism:
  """The organism of a config, identical on every call."""
  simulator = _Simulator(config)
  lengths = {
    'train': config.train_chromosomes,
    'validation': config.validation_chromosomes,
    'test': config.test_chromosomes,
  }
  chromosomes = []
  for split, sizes in lengths.items():
    for size in sizes:
      name = f'chr{len(chromosomes) + 1}'
      chromosomes.append(simulator.chromosome(name, split, size))
  proteins = {split: [] for split in records.SPLITS}
  for index in range(config.num_proteins):
    # Eight parts in ten train, one each validation and test.
    split = {8: 'validation', 9: 'test'}.get(index % 10, 'train')
    proteins[split].append(simulator.member(split)[1])
  return labels.Organism(
    chromosomes=tuple(chromosomes),
    proteins=proteins,
    codon_usage=simulator.codons.usage,
    shared_families=frozenset(simulator.families.shared.tolist()),
  )
