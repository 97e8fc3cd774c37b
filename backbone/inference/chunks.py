"""One sequence of any length, encoded in overlapping parts."""

from collections.abc import Callable, Iterator

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float32, UInt8

from backbone.array_types import Batch
from data_pipelines import records

Encode = Callable[[nnx.Module, Batch], jax.Array]
_UNIT = 3


def encode_in_chunks(
  encode: Encode,
  model: nnx.Module,
  sequence: UInt8[np.ndarray, 'n'],
  *,
  chunk: int,
  context: int,
  kind: int = records.GENOME,
  genetic_code: int = 1,
) -> Iterator[Float32[np.ndarray, 't D']]:
  """Vectors of the units of `sequence`, part by part, in constant memory.

  A part is encoded with `context` bases to either side, whose vectors are
  dropped. What lies beyond the context is not seen: a softmax layer over the
  whole sequence, or a state that forgets slowly, then differs from the whole
  sequence encoded at once, the more the shorter the context
  (tests/backbone/inference). With a context as long as the sequence there is
  no difference.

  Args:
    encode: Called as encode(model, batch) -> [B, T, D], of units of 3 bases.
    sequence: Bases A C G T N = 0..4; the last unit is filled up with N.
    chunk: Bases of a part, a multiple of 3.
    context: Bases on either side of it, a multiple of 3.
    kind: Index into `records.KINDS`; CDS and protein begin on a codon.
    genetic_code: NCBI table of its codons.

  Raises:
    ValueError: A length is no multiple of a unit.
  """
  if chunk < _UNIT or context < 0 or chunk % _UNIT or context % _UNIT:
    raise ValueError(
      f'chunk={chunk}, context={context}: give multiples of {_UNIT} bases'
    )
  whole = -(-len(sequence) // _UNIT) * _UNIT
  # Not longer than the sequence: a short one would be mostly padding.
  length = min(chunk + 2 * context, whole)
  graph, state = nnx.split(model)
  run = jax.jit(lambda state, batch: encode(nnx.merge(graph, state), batch))
  for start in range(0, whole, chunk):
    stop = min(start + chunk, whole)
    # At an end the context is on the other side, so that all rows are full.
    first = min(max(start - context, 0), whole - length)
    last = max(first + length, min(stop + context, whole))
    first = last - length
    batch = _row(sequence[first:last], length, first, kind, genetic_code)
    hidden = np.asarray(run(state, batch), np.float32)[0]
    yield hidden[(start - first) // _UNIT : (stop - first) // _UNIT]


def _row(
  sequence: UInt8[np.ndarray, 'n'],
  length: int,
  first: int,
  kind: int,
  genetic_code: int,
) -> dict[str, np.ndarray]:
  """A batch of one row, in the packed format."""
  filled = np.full(length, records.N, np.uint8)
  filled[: len(sequence)] = sequence
  is_coding = kind in (records.CDS, records.PROTEIN)
  phase = np.arange(length) % _UNIT if is_coding else records.PHASE_NONE
  tracks = {
    'sequence': filled,
    'segment_ids': np.int32(1),
    'positions': first + np.arange(length, dtype=np.int32),
    'kind': np.uint8(kind),
    'codon_phase': np.asarray(phase, np.uint8),
    'amino_acid': np.uint8(records.NO_RESIDUE),
    'genetic_code': np.uint8(genetic_code),
    'soft_mask': np.bool_(False),
    'codon_is_sampled': np.bool_(False),
  }
  return {
    name: np.ascontiguousarray(np.broadcast_to(track, (1, length)))
    for name, track in tracks.items()
  }
