"""Which part of which record goes where in which row: first-fit packing plans.

A plan is made from lengths alone, before any record is read. Records are
cropped to whole codon-sized units of three bases; only a record, or the end of
one, shorter than three bases is left out.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, UInt64

from data_pipelines import records
from data_pipelines.mixture import Mixture, noise


class Segment(NamedTuple):
  """A part of a record, and its place in a row.

  Attributes:
    source_id: Which source the record is in.
    record_id: Where the record stands in its source.
    start: First base of the record that is used.
    length: Bases used, a multiple of three.
    offset: First base in the row.
    is_reversed: Whether the part is reverse-complemented.
    noise: 64 random bits, for draws made when the record is read.
  """

  source_id: int
  record_id: int
  start: int
  length: int
  offset: int
  is_reversed: bool
  noise: int


class Plan(NamedTuple):
  """Packed rows: row `r` is `segments[bounds[r]:bounds[r + 1]]`."""

  segments: list[Segment]
  bounds: list[int]

  @property
  def num_rows(self) -> int:
    return len(self.bounds) - 1

  def row(self, row: int) -> list[Segment]:
    """The segments of one row, from left to right."""
    return self.segments[self.bounds[row] : self.bounds[row + 1]]


def first_fit(
  lengths: Int[np.ndarray, 'S'], row_length: int
) -> tuple[Int[np.ndarray, 'S'], Int[np.ndarray, 'S']]:
  """Puts each segment into the first row with room; returns rows, offsets."""
  # A heap-shaped tree: each node holds the most room of any row below it.
  num_leaves = 1 << max(len(lengths) - 1, 0).bit_length()
  room = [row_length] * (2 * num_leaves)
  rows, offsets = [], []
  for length in lengths.tolist():
    node = 1
    while node < num_leaves:
      node *= 2
      if room[node] < length:
        node += 1
    rows.append(node - num_leaves)
    offsets.append(row_length - room[node])
    room[node] -= length
    while node > 1:
      most = max(room[node], room[node ^ 1])
      node //= 2
      if room[node] == most:
        break
      room[node] = most
  return np.array(rows, np.int64), np.array(offsets, np.int64)


def crop(
  lengths: Int[np.ndarray, 'S'],
  kinds: Int[np.ndarray, 'S'],
  row_length: int,
  bits: UInt64[np.ndarray, 'S'],
) -> tuple[Int[np.ndarray, 'S'], Int[np.ndarray, 'S']]:
  """Random (start, length) of each record: whole units, at most a row.

  Without a known frame (genome, RNA) up to two bases in front are dropped at
  random; CDS and protein start on a codon.
  """
  has_frame = (kinds == records.CDS) | (kinds == records.PROTEIN)
  phase = (bits % np.uint64(3)).astype(np.int64)
  phase[has_frame | (lengths - phase < 3)] = 0
  units = (lengths - phase) // 3
  kept = np.minimum(units, row_length // 3)
  spare = (units - kept + 1).astype(np.uint64)
  skipped = ((bits >> np.uint64(8)) % spare).astype(np.int64)
  return phase + 3 * skipped, 3 * kept


def plan_block(
  mixture: Mixture,
  block: int,
  *,
  row_length: int,
  reverse_complement: float | int,
) -> Plan:
  """The rows of one block of references; the last rows may have room left."""
  source_id, record_id = mixture.block(block)
  lengths = np.empty(len(source_id), np.int64)
  for i, source in enumerate(mixture.sources):
    chosen = source_id == i
    lengths[chosen] = source.lengths[record_id[chosen]]
  kinds = np.array([source.kind for source in mixture.sources])[source_id]
  index = block * len(source_id) + np.arange(len(source_id))
  start, length = crop(
    lengths, kinds, row_length, noise(mixture.seed, 'crop', index)
  )
  draw = noise(mixture.seed, 'strand', index).astype(np.float64) / 2.0**64
  return _in_row_order(
    source_id,
    record_id,
    start,
    length,
    row_length,
    is_reversed=(kinds == records.GENOME) & (draw < reverse_complement),
    bits=noise(mixture.seed, 'read', index),
    # First-fit puts what is short into the gaps of early rows: unshuffled, a
    # block would begin with proteins and end without any.
    row_bits=noise(mixture.seed, 'row', index),
  )


def plan_in_order(lengths: Int[np.ndarray, 'R'], row_length: int) -> Plan:
  """Every record of one source once, in order, without any draw.

  A record longer than a row continues as the next segment.
  """
  units, row_units = lengths // 3, row_length // 3
  pieces = -(-units // row_units)
  record_id = np.repeat(np.arange(len(lengths)), pieces)
  piece = np.arange(len(record_id)) - np.repeat(
    np.cumsum(pieces) - pieces, pieces
  )
  length = np.minimum(units[record_id] - piece * row_units, row_units)
  return _in_row_order(
    np.zeros_like(record_id),
    record_id,
    3 * row_units * piece,
    3 * length,
    row_length,
    is_reversed=np.zeros(len(record_id), bool),
    bits=np.zeros(len(record_id), np.uint64),
  )


def _in_row_order(
  source_id: Int[np.ndarray, 'S'],
  record_id: Int[np.ndarray, 'S'],
  start: Int[np.ndarray, 'S'],
  length: Int[np.ndarray, 'S'],
  row_length: int,
  *,
  is_reversed: Bool[np.ndarray, 'S'],
  bits: UInt64[np.ndarray, 'S'],
  row_bits: UInt64[np.ndarray, 'S'] | None = None,
) -> Plan:
  """The plan of segments; its rows in the order of `row_bits`, if given."""
  rows, offset = first_fit(length, row_length)
  if row_bits is not None:
    rows = np.argsort(np.argsort(row_bits[: rows.max(initial=-1) + 1]))[rows]
  order = np.argsort(rows, kind='stable')
  columns = (source_id, record_id, start, length, offset, is_reversed, bits)
  num_rows = int(rows.max(initial=-1)) + 1
  return Plan(
    list(map(Segment, *(column[order].tolist() for column in columns))),
    np.searchsorted(rows[order], np.arange(num_rows + 1)).tolist(),
  )
