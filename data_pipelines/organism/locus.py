"""One gene from promoter to polyadenylation signal, read on its own strand."""

import dataclasses

import numpy as np
from jaxtyping import Int, UInt8

from data_pipelines import records
from data_pipelines.organism import grammar, labels, statistics

# Sites stand where yeast and animal promoters have them, relative to the TSS.
TATA_POSITION = -31
INITIATOR_POSITION = -2
_MIN_EXON = 30


@dataclasses.dataclass(frozen=True)
class LocusConfig:
  """How a gene is laid out.

  Attributes:
    conservation: Chance that a base of a motif copy agrees with the consensus.
    tata_share: Share of promoters with a TATA box.
    max_activators: Activator sites per promoter are uniform in 0..this.
    repressor_share: Share of promoters with a repressor site.
    introns_per_kilobase: Of coding sequence.
    min_intron: Shorter drawn introns are lengthened to this.
    max_intron: Longer drawn introns are cut to this; so with the other limits.
    max_five_prime: Of the 5' untranslated region; the shortest is 30.
    max_three_prime: Of the 3' untranslated region; the shortest is 60.
  """

  conservation: float = 0.92
  tata_share: float = 0.8
  max_activators: int = 5
  repressor_share: float = 0.3
  introns_per_kilobase: float = 2.0
  min_intron: int = 60
  max_intron: int = 240
  max_five_prime: int = 120
  max_three_prime: int = 200


@dataclasses.dataclass(frozen=True)
class Locus:
  """A stretch of one strand; positions are offsets into it.

  Attributes:
    sequence: Bases on the sense strand.
    region: Index into `labels.REGIONS`.
    codon_phase: Position in the codon, or none.
    tss: First transcribed base.
    donors: First bases of introns.
    acceptors: Last bases of introns.
    promoter_strength: Sum of the weights of the promoter's sites.
  """

  sequence: UInt8[np.ndarray, 'n']
  region: UInt8[np.ndarray, 'n']
  codon_phase: UInt8[np.ndarray, 'n']
  tss: int
  donors: Int[np.ndarray, 'd']
  acceptors: Int[np.ndarray, 'd']
  promoter_strength: float

  def coding_exons(self) -> Int[np.ndarray, 'e 2']:
    is_coding = np.pad(self.region == labels.CODING, 1).astype(np.int8)
    edges = np.flatnonzero(np.diff(is_coding))
    return edges.reshape(-1, 2)


class LocusMaker:
  """Lays out loci from the statistics of real genomes."""

  def __init__(
    self,
    config: LocusConfig,
    real: dict[str, np.ndarray],
    rng: np.random.Generator,
  ):
    self._config = config
    self._real = real
    self._rng = rng
    self._promoter = grammar.Background(real['promoter'], rng)
    self._intron = grammar.Background(real['intron'], rng)
    self._spacer = grammar.Background(real['spacer'], rng)

  def spacer(self, length: int) -> UInt8[np.ndarray, 'n']:
    return self._spacer.take(length)

  def gene(self, coding: UInt8[np.ndarray, 'n']) -> Locus:
    """A locus around a CDS that ends with its stop."""
    five_prime = self._five_prime()
    promoter, strength = self._promoter_of(five_prime)
    parts = [(promoter, labels.PROMOTER), (five_prime, labels.FIVE_PRIME)]
    cuts = self._intron_sites(coding)
    for index, exon in enumerate(np.split(coding, cuts)):
      if index:
        parts.append((self._make_intron(), labels.INTRON))
      parts.append((exon, labels.CODING))
    parts.append((self._three_prime(), labels.THREE_PRIME))
    sequence = np.concatenate([part for part, _ in parts])
    region = np.repeat(
      np.array([region for _, region in parts], np.uint8),
      [part.size for part, _ in parts],
    )
    phase = np.full(sequence.size, records.PHASE_NONE, np.uint8)
    phase[region == labels.CODING] = np.arange(coding.size) % 3
    edges = np.diff(np.pad(region == labels.INTRON, 1).astype(np.int8))
    return Locus(
      sequence=sequence,
      region=region,
      codon_phase=phase,
      tss=promoter.size,
      donors=np.flatnonzero(edges == 1),
      acceptors=np.flatnonzero(edges == -1) - 1,
      promoter_strength=strength,
    )

  def enhancer(self, num_sites: int) -> tuple[UInt8[np.ndarray, 'n'], float]:
    """A cluster of activator and enhancer sites, and its strength."""
    choices = grammar.ACTIVATORS + grammar.ENHANCER_MOTIFS
    parts, strength = [], 0.0
    for _ in range(num_sites):
      motif = choices[self._rng.integers(len(choices))]
      site, weight = grammar.copy_motif(
        motif, self._config.conservation, self._rng
      )
      parts += [site, self._spacer.take(int(self._rng.integers(4, 16)))]
      strength += weight
    return np.concatenate(parts), strength

  def _five_prime(self) -> UInt8[np.ndarray, 'n']:
    length = grammar.sample_length(
      self._real['five_prime_length'],
      30,
      self._config.max_five_prime,
      self._rng,
    )
    leader = self._spacer.take(length)
    context = grammar.sample_matrix(self._real['start_context'], self._rng)
    leader[-context.size :] = context
    return leader

  def _promoter_of(
    self, five_prime: UInt8[np.ndarray, 'n']
  ) -> tuple[UInt8[np.ndarray, 'm'], float]:
    """The promoter and its strength; writes its last site over the TSS."""
    config, rng = self._config, self._rng
    promoter = self._promoter.take(statistics.PROMOTER)
    size = promoter.size
    both = np.concatenate([promoter, five_prime])
    sites = [(grammar.INITIATOR, size + INITIATOR_POSITION)]
    if rng.random() < config.tata_share:
      jitter = int(rng.integers(-3, 4))
      sites.append((grammar.TATA, size + TATA_POSITION + jitter))
    num = int(rng.integers(config.max_activators + 1))
    motifs = [
      grammar.ACTIVATORS[i]
      for i in rng.integers(0, len(grammar.ACTIVATORS), num)
    ]
    if rng.random() < config.repressor_share:
      motifs.append(grammar.REPRESSOR)
    # Slots of 20 bases keep sites apart; the nearest is 60 bases upstream.
    slots = rng.choice((size - 60) // 20, len(motifs), replace=False)
    sites += [
      (motif, int(slot) * 20 + int(rng.integers(0, 10)))
      for motif, slot in zip(motifs, slots, strict=True)
    ]
    strength = 0.0
    for motif, at in sites:
      site, weight = grammar.copy_motif(motif, config.conservation, rng)
      both[at : at + site.size] = site
      strength += weight
    five_prime[:] = both[size:]
    return both[:size], strength

  def _three_prime(self) -> UInt8[np.ndarray, 'n']:
    length = grammar.sample_length(
      self._real['three_prime_length'],
      60,
      self._config.max_three_prime,
      self._rng,
    )
    tail = self._spacer.take(length)
    signal, _ = grammar.copy_motif(
      grammar.POLYADENYLATION, self._config.conservation, self._rng
    )
    at = length - 20 - int(self._rng.integers(0, 10))
    tail[at : at + signal.size] = signal
    return tail

  def _intron_sites(
    self, coding: UInt8[np.ndarray, 'n']
  ) -> Int[np.ndarray, 'd']:
    """Where introns fall: exon flanks follow the real splice-site matrices."""
    mean = self._config.introns_per_kilobase * coding.size / 1000
    num = int(self._rng.poisson(mean))
    if not num or coding.size < 3 * _MIN_EXON:
      return np.zeros(0, np.int64)
    sites = np.arange(_MIN_EXON, coding.size - _MIN_EXON)
    donor, acceptor = self._real['donor'], self._real['acceptor']
    weight = np.ones(sites.size)
    for offset in range(statistics.DONOR_EXON):
      flank = coding[sites - statistics.DONOR_EXON + offset]
      weight *= donor[offset, flank]
    for offset in range(statistics.ACCEPTOR_EXON):
      flank = coding[sites + offset]
      weight *= acceptor[statistics.ACCEPTOR_INTRON + offset, flank]
    num = min(num, sites.size)
    drawn = self._rng.choice(sites, num, replace=False, p=weight / weight.sum())
    kept: list[int] = []
    for site in sorted(drawn.tolist()):
      if not kept or site - kept[-1] >= _MIN_EXON:
        kept.append(site)
    return np.array(kept, np.int64)

  def _make_intron(self) -> UInt8[np.ndarray, 'n']:
    config, rng = self._config, self._rng
    length = grammar.sample_length(
      self._real['intron_length'], config.min_intron, config.max_intron, rng
    )
    intron = self._intron.take(length)
    donor = grammar.sample_matrix(self._real['donor'], rng)
    acceptor = grammar.sample_matrix(self._real['acceptor'], rng)
    intron[: statistics.DONOR_INTRON] = donor[statistics.DONOR_EXON :]
    tract = acceptor[: statistics.ACCEPTOR_INTRON]
    intron[-tract.size :] = tract
    branch, _ = grammar.copy_motif(
      grammar.BRANCH_POINT, config.conservation, rng
    )
    at = length - tract.size - branch.size - int(rng.integers(0, 12))
    intron[at : at + branch.size] = branch
    # The matrices hold a pseudocount; the model of splicing has none here.
    intron[:2] = grammar.bases('GT')
    intron[-2:] = grammar.bases('AG')
    return intron
