"""The baseline of every table: logistic or ridge regression on k-mer counts.

Where the sequence is codons, counts of codons and of residues compete as well;
where all are variants of one sequence, indicators of their mutations; where
units are labelled, indicators of the units around each. Validation chooses.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import scipy.sparse
from jaxtyping import Int, UInt8

from backbone.downstream import examples as examples_lib
from backbone.downstream import linear, metrics
from backbone.downstream.examples import Examples, UnitSample
from data_pipelines import central_dogma, records
from data_pipelines.tasks import Task


@dataclasses.dataclass(frozen=True)
class KmerConfig:
  """Which features are tried.

  Attributes:
    ks: Lengths of k-mers of bases.
    num_buckets: k-mers beyond this many are hashed together.
    residue_ks: Lengths of k-mers of residues, where the sequence is codons.
    unit_window: Units looked at on either side of a labelled one.
    has_strands: Whether counts of both strands of genomic DNA are tried, too.
    max_mutated: Sequences of one length that differ from the commonest residues
      at no more than this share of positions are variants.
  """

  ks: tuple[int, ...] = (3, 4, 5, 6)
  num_buckets: int = 4096
  residue_ks: tuple[int, ...] = (1, 2)
  unit_window: int = 7
  max_mutated: float = 0.2
  has_strands: bool = True


@dataclasses.dataclass(frozen=True)
class Candidate:
  """Features that may become the baseline.

  Attributes:
    name: What they are.
    features: A row per example.
    is_scaled: Whether columns are brought to one scale.
  """

  name: str
  features: scipy.sparse.csr_matrix
  is_scaled: bool = True


@dataclasses.dataclass(frozen=True)
class _Words:
  """A vocabulary: codes below `size` of what a sequence holds."""

  name: str
  size: int
  codes: Callable[[UInt8[np.ndarray, '_']], Int[np.ndarray, '_']]


# A prime: counts of different k-mers then collide without a pattern.
_HASH = 2_654_435_761
_CODING = (records.CDS, records.PROTEIN)
_NUM_RESIDUES = len(records.AMINO_ACIDS)
# Of a partner that is not codons, beside the codons or residues of the other.
_PARTNER_K = 4


def kmer_codes(
  letters: UInt8[np.ndarray, 'n'], k: int, num_letters: int
) -> tuple[Int[np.ndarray, 'w'], Int[np.ndarray, 'w']]:
  """Start and code of every k-mer of letters below `num_letters` alone."""
  if letters.size < k:
    return np.zeros(0, np.int64), np.zeros(0, np.int64)
  grams = np.lib.stride_tricks.sliding_window_view(letters, k)
  start = np.flatnonzero((grams < num_letters).all(-1))
  return start, grams[start] @ (num_letters ** np.arange(k)[::-1])


def _base_words(k: int, num_buckets: int, is_centred: bool = False) -> _Words:
  """k-mers of bases.

  Where the label is of the centre, k-mers left and right of it, and those in
  each of the three frames, are counted apart: an encoder of codon-sized units
  is told both as well.
  """
  num_groups = 6 if is_centred else 1
  size = num_groups * 4**k

  def codes(sequence: UInt8[np.ndarray, 'n']) -> Int[np.ndarray, 'w']:
    start, code = kmer_codes(sequence, k, 4)
    if is_centred:
      centre = sequence.size // 3 // 2 * 3
      group = (start >= centre) * 3 + (start - centre) % 3
      code = code * num_groups + group
    if size > num_buckets:
      code = code * _HASH % 2**32 % num_buckets
    return code

  return _Words(f'{k}-mers', min(size, num_buckets), codes)


def _of_both_strands(words: _Words) -> _Words:
  """A word and its reverse complement count for each other."""

  def codes(sequence: UInt8[np.ndarray, 'n']) -> Int[np.ndarray, 'w']:
    other = central_dogma.reverse_complement(sequence)
    return np.concatenate([words.codes(sequence), words.codes(other)])

  return _Words(f'{words.name} of both strands', words.size, codes)


def _codon_words() -> _Words:
  def codes(sequence: UInt8[np.ndarray, 'n']) -> Int[np.ndarray, 'w']:
    ids = central_dogma.codon_ids(sequence)
    return ids[ids < central_dogma.AMBIGUOUS_CODON].astype(np.int64)

  return _Words('codons', 64, codes)


def _residue_words(k: int, genetic_code: int) -> _Words:
  def codes(sequence: UInt8[np.ndarray, 'n']) -> Int[np.ndarray, 'w']:
    residues = central_dogma.translate(sequence, genetic_code)
    # The unknown residue is the last letter.
    return kmer_codes(residues, k, central_dogma.UNKNOWN)[1]

  return _Words(f'{k}-residues', central_dogma.UNKNOWN**k, codes)


def _shares(
  sequences: Sequence[np.ndarray], words: _Words
) -> scipy.sparse.csr_matrix:
  """How large a share of a sequence's words each word is."""
  rows, columns, values = [], [], []
  for index, sequence in enumerate(sequences):
    code = words.codes(sequence)
    rows.append(np.full(code.size, index))
    columns.append(code)
    values.append(np.full(code.size, 1 / max(code.size, 1)))
  place = (np.concatenate(rows), np.concatenate(columns))
  # The constructor adds up repeated places.
  return scipy.sparse.csr_matrix(
    (np.concatenate(values), place), (len(sequences), words.size)
  )


def _counted(
  task: Task, words: _Words, partner_words: _Words | None = None
) -> scipy.sparse.csr_matrix:
  """Shares of words; of pairs both, and how the same words compare."""
  first = _shares(task.sequences, words)
  if task.partners is None:
    return first
  partner_words = partner_words or words
  second = _shares(task.partners, partner_words)
  parts = [first, second]
  if partner_words.name == words.name:
    parts += [first.multiply(second), abs(first - second)]
  return scipy.sparse.hstack(parts, 'csr')


def counts(task: Task, k: int, num_buckets: int) -> scipy.sparse.csr_matrix:
  """Counts of k-mers per example, as a share of the example's k-mers."""
  return _counted(task, _base_words(k, num_buckets, task.pooling == 'centre'))


def _coding_candidates(task: Task, config: KmerConfig) -> Iterator[Candidate]:
  """Codons and residues of the sequences, the partners, or both."""
  vocabularies = [
    _codon_words(),
    *(_residue_words(k, task.genetic_code) for k in config.residue_ks),
  ]
  bases = _base_words(_PARTNER_K, config.num_buckets)
  for words in vocabularies:
    sides = [
      words if kind in _CODING else bases
      for kind in (task.kind, task.partner_kind)
    ]
    yield Candidate(words.name, _counted(task, *sides))


def _mutations(examples: Examples, config: KmerConfig) -> Candidate | None:
  """Which residue each changed position holds, if all are of one wild type."""
  task = examples.task
  if len({sequence.size for sequence in task.sequences}) > 1:
    return None
  residues = np.stack(
    [central_dogma.translate(s, task.genetic_code) for s in task.sequences]
  )
  train = residues[examples.of_split('train')]
  held = [(train == residue).sum(0) for residue in range(_NUM_RESIDUES)]
  commonest = np.argmax(held, axis=0)
  row, position = np.nonzero(residues != commonest)
  if row.size > config.max_mutated * residues.size:
    return None
  column = position * _NUM_RESIDUES + residues[row, position]
  indicators = scipy.sparse.csr_matrix(
    (np.ones(row.size), (row, column)),
    (len(residues), residues.shape[1] * _NUM_RESIDUES),
  )
  return Candidate('mutations', indicators, is_scaled=False)


def _unit_candidates(
  examples: Examples, config: KmerConfig
) -> Iterator[Candidate]:
  """Indicators of the codons, and of the residues, around every unit."""
  task, window = examples.task, config.unit_window
  readings = {
    'codons': (central_dogma.codon_ids, central_dogma.AMBIGUOUS_CODON)
  }
  if task.kind in _CODING:
    readings['residues'] = (
      lambda bases: central_dogma.translate(bases, task.genetic_code),
      central_dogma.UNKNOWN,
    )
  for name, (read, num_known) in readings.items():
    # Beyond the ends, and where the unit is not known, nothing is indicated.
    outside = np.full(window, num_known, np.uint8)
    tracks, starts, total = [outside], [], window
    for sequence in task.sequences:
      whole = np.full(examples_lib.num_units(sequence) * 3, records.N, np.uint8)
      whole[: sequence.size] = sequence
      starts.append(total)
      tracks += [read(whole), outside]
      total += whole.size // 3 + window
    first = np.array(starts)[examples.sequence] + examples.unit - window
    around = np.concatenate(tracks)[first[:, None] + np.arange(2 * window + 1)]
    row, offset = np.nonzero(around < num_known)
    column = offset * num_known + around[row, offset]
    width = (2 * window + 1) * num_known
    indicators = scipy.sparse.csr_matrix(
      (np.ones(row.size, np.float32), (row, column)), (len(around), width)
    )
    yield Candidate(f'{name} within {window}', indicators, is_scaled=False)


def candidates(examples: Examples, config: KmerConfig) -> Iterator[Candidate]:
  """All that is tried for a task, made one at a time."""
  task = examples.task
  if task.pooling == 'unit':
    yield from _unit_candidates(examples, config)
    return
  kinds = {task.kind}
  if task.partners is not None:
    kinds.add(task.partner_kind)
  is_genomic = kinds == {records.GENOME} and task.pooling == 'mean'
  for k in config.ks:
    yield Candidate(f'{k}-mers', counts(task, k, config.num_buckets))
    if is_genomic and config.has_strands:
      words = _of_both_strands(_base_words(k, config.num_buckets))
      yield Candidate(words.name, _counted(task, words))
  if task.pooling != 'mean' or not kinds & set(_CODING):
    return
  yield from _coding_candidates(task, config)
  mutations = (
    None if task.partners is not None else _mutations(examples, config)
  )
  if mutations is not None:
    yield mutations


def evaluate(
  task: Task,
  bootstrap: metrics.Bootstrap,
  config: KmerConfig | None = None,
  sample: UnitSample | None = None,
) -> tuple[metrics.Score, str]:
  """The test score of the candidate best on validation, and its name."""
  examples = examples_lib.of_task(task, sample)
  best: tuple[float, Any, Candidate] | None = None
  for candidate in candidates(examples, config or KmerConfig()):
    model, value = linear.fit(
      examples, candidate.features, is_scaled=candidate.is_scaled
    )
    if best is None or value > best[0]:
      best = value, model, candidate
  _, model, candidate = best
  score = linear.test_score(examples, model, candidate.features, bootstrap)
  return score, candidate.name
