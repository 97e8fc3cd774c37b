"""Reads the records of planned rows and lays them out as one packed batch."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float16, UInt8

from data_pipelines import central_dogma
from data_pipelines.central_dogma import CodonPolicy
from data_pipelines.features import KEY
from data_pipelines.mixture import Source
from data_pipelines.pack import Plan, Segment
from data_pipelines.records import NO_RESIDUE, PAD, PHASE_NONE, PROTEIN, RNA

# What a batch holds, [B, N] each, and what stands behind a row's last segment;
# beside it, where there is a cache, features of its units [B, N / 3, W].
PACKED = {
  'sequence': (np.uint8, PAD),
  'segment_ids': (np.int32, 0),
  'positions': (np.int32, 0),
  'kind': (np.uint8, 0),
  'codon_phase': (np.uint8, PHASE_NONE),
  'amino_acid': (np.uint8, NO_RESIDUE),
  'genetic_code': (np.uint8, 0),
  'soft_mask': (np.bool_, False),
  'codon_is_sampled': (np.bool_, False),
}
_OPPOSITE_PHASE = np.array([2, 1, 0, PHASE_NONE], np.uint8)

PackedBatch = dict[str, np.ndarray]


class RowReader:
  """Makes batches of planned rows; opens its files where it is first used."""

  def __init__(
    self,
    sources: Sequence[Source],
    row_length: int,
    *,
    codon_policy: CodonPolicy | None = None,
    cache_bases: int = 0,
  ):
    """A reader of `sources`.

    Args:
      sources: What the plans refer to.
      row_length: Bases in a row.
      codon_policy: How sampled codons are drawn anew at every reading; None
        keeps those of the record.
      cache_bases: Decoded records of so many bases are kept in memory.
    """
    self._sources = tuple(sources)
    self._row_length = row_length
    self._codon_policy = codon_policy
    self._ramp = np.arange(row_length, dtype=np.int32)
    self._cache_bases = cache_bases
    self._cache: dict[tuple[int, int], Mapping[str, Any]] = {}
    self._opened: dict[int, Any] = {}
    self._features: dict[int, Any] = {}

  def __getstate__(self) -> dict[str, Any]:
    return {**self.__dict__, '_opened': {}, '_features': {}, '_cache': {}}

  def batch(
    self, rows: Sequence[tuple[Plan, int]], num_rows: int
  ) -> PackedBatch:
    """A batch of (plan, row of that plan), filled up with empty rows."""
    batch = {
      name: np.full((num_rows, self._row_length), fill, dtype)
      for name, (dtype, fill) in PACKED.items()
    }
    if (features := self._sources[0].features) is not None:
      shape = (num_rows, self._row_length // 3, features.width)
      batch[KEY] = np.zeros(shape, np.float16)
    segments = [plan.row(row) for plan, row in rows]
    records = self._read([s[:2] for row in segments for s in row])
    for i, row in enumerate(segments):
      arrays = {name: array[i] for name, array in batch.items()}
      for segment_id, segment in enumerate(row, start=1):
        record = records[segment.source_id, segment.record_id]
        self._place(arrays, segment_id, segment, record)
        if features is not None:
          self._place_features(arrays[KEY], segment)
    return batch

  def _place(
    self,
    row: dict[str, np.ndarray],
    segment_id: int,
    segment: Segment,
    record: Mapping[str, Any],
  ) -> None:
    source = self._sources[segment.source_id]
    start, length = segment.start, segment.length
    if source.kind == RNA:
      start, length = _in_frame(record['codon_phase'], start, length)
    part = slice(start, start + length)
    at = slice(segment.offset, segment.offset + length)
    row['segment_ids'][at] = segment_id
    row['positions'][at] = self._ramp[:length]
    row['kind'][at] = source.kind
    row['genetic_code'][at] = record['genetic_code']
    row['codon_is_sampled'][at] = record['codon_is_sampled']
    sequence = record['sequence'][part]
    if self._codon_policy and source.kind == PROTEIN:
      usage = source.codon_usage if self._codon_policy == 'usage' else None
      sequence = _draw_codons(record, part, usage, segment.noise)
    if segment.is_reversed:
      sequence = central_dogma.reverse_complement(sequence)
    row['sequence'][at] = sequence
    direction = -1 if segment.is_reversed else 1
    if (soft_mask := record['soft_mask']) is not None:
      row['soft_mask'][at] = soft_mask[part][::direction]
    if (residues := record.get('amino_acids')) is not None:
      row['amino_acid'][at] = residues[start // 3 : part.stop // 3].repeat(3)
    if (codon_phase := record['codon_phase']) is not None:
      phase = codon_phase[part][::direction]
      phase = _OPPOSITE_PHASE.take(phase) if segment.is_reversed else phase
      row['codon_phase'][at] = phase

  def _place_features(
    self, row: Float16[np.ndarray, 'T W'], segment: Segment
  ) -> None:
    source_id, at = segment.source_id, segment.offset // 3
    source = self._sources[source_id]
    if source_id not in self._features:
      self._features[source_id] = source.open_features()
    if (features := self._features[source_id]) is not None:
      record_id = int(source.record_ids[segment.record_id])
      start, stop = segment.start // 3, (segment.start + segment.length) // 3
      found = features.read(record_id, start, stop)
      row[at : at + stop - start] = 0 if found is None else found

  def _read(
    self, wanted: Sequence[tuple[int, int]]
  ) -> dict[tuple[int, int], Mapping[str, Any]]:
    """The records named by (source, record), read source by source."""
    found = {key: self._cache[key] for key in wanted if key in self._cache}
    missing = sorted(set(wanted) - found.keys())
    for source_id, keys in itertools.groupby(missing, key=lambda key: key[0]):
      keys = list(keys)
      places = self._sources[source_id].record_ids[[key[1] for key in keys]]
      read = self._open(source_id).__getitems__(places.tolist())
      for key, record in zip(keys, read, strict=True):
        found[key] = record = _without_empty_tracks(record)
        if self._cache_bases > 0:
          self._cache_bases -= len(record['sequence'])
          self._cache[key] = record
    return found

  def _open(self, source_id: int) -> Any:
    if source_id not in self._opened:
      self._opened[source_id] = self._sources[source_id].open()
    return self._opened[source_id]


def _without_empty_tracks(record: dict[str, Any]) -> dict[str, Any]:
  """The record; a track that says the same as an unwritten row is None.

  So are residues that do not pair up with the codons.
  """
  residues = record.get('amino_acids')
  if residues is not None and 3 * len(residues) != len(record['sequence']):
    record['amino_acids'] = None
  if not record['soft_mask'].any():
    record['soft_mask'] = None
  if record['codon_phase'].min(initial=PHASE_NONE) == PHASE_NONE:
    record['codon_phase'] = None
  return record


def _in_frame(
  codon_phase: UInt8[np.ndarray, 'n'] | None, start: int, length: int
) -> tuple[int, int]:
  """Moves a part of an mRNA by up to two bases, to begin on a codon's frame.

  What then reaches over the end of the record gives up its last unit.
  """
  if codon_phase is None or length <= 3:
    return start, length
  first = int((codon_phase != PHASE_NONE).argmax())
  start += (first - int(codon_phase[first]) - start) % 3
  return start, length - 3 * (start + length > len(codon_phase))


def _draw_codons(
  record: Mapping[str, Any], part: slice, usage: np.ndarray | None, bits: int
) -> UInt8[np.ndarray, 'n']:
  amino_acids = record['amino_acids']
  sequence = record['sequence']
  # Only where residues and codons pair up can the codons be drawn again.
  if not record['codon_is_sampled'] or amino_acids is None:
    return sequence[part]
  return central_dogma.reverse_translate(
    amino_acids[part.start // 3 : part.stop // 3],
    int(record['genetic_code']),
    policy='uniform' if usage is None else 'usage',
    usage=usage,
    rng=np.random.Generator(np.random.PCG64(bits)),
  )
