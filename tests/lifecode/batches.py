"""A tiny model and packed rows with every kind of record, for the tests."""

import jax
import jax.numpy as jnp
import numpy as np

from backbone.model import BackboneConfig
from data_pipelines import central_dogma, records
from lifecode.model import LifeCodeConfig
from lifecode.tokenizers import ConvMerge

TINY = LifeCodeConfig(
  backbone=BackboneConfig(
    pattern=('delta', 'local'),
    width=32,
    hidden=48,
    num_heads=2,
    delta_heads=4,
    delta_key_width=8,
    delta_value_width=16,
    window=8,
  ),
  tokenizer=ConvMerge(base_width=16),
)
# First base, length and kind of the segments of every row; the rest is padding.
SEGMENTS = (
  (0, 18, records.GENOME),
  (18, 24, records.CDS),
  (42, 12, records.RNA),
  (54, 12, records.PROTEIN),
)
LENGTH = 72
TEACHER_WIDTH = 12


def make_batch(rows=8, genetic_code=1):
  """Rows of four segments and padding; residues where there are codons."""
  rng = np.random.default_rng(0)
  shape = rows, LENGTH
  batch = {
    'sequence': np.full(shape, records.PAD, np.uint8),
    'segment_ids': np.zeros(shape, np.int32),
    'positions': np.zeros(shape, np.int32),
    'kind': np.zeros(shape, np.uint8),
    'codon_phase': np.full(shape, records.PHASE_NONE, np.uint8),
    'amino_acid': np.full(shape, records.NO_RESIDUE, np.uint8),
    'genetic_code': np.zeros(shape, np.uint8),
    'soft_mask': np.zeros(shape, bool),
    'codon_is_sampled': np.zeros(shape, bool),
    'teacher': rng.normal(size=(rows, LENGTH // 3, TEACHER_WIDTH)).astype(
      np.float16
    ),
  }
  for number, (start, length, kind) in enumerate(SEGMENTS, start=1):
    here = slice(start, start + length)
    bases = rng.integers(0, 4, (rows, length)).astype(np.uint8)
    batch['sequence'][:, here] = bases
    batch['segment_ids'][:, here] = number
    batch['positions'][:, here] = np.arange(length)
    batch['kind'][:, here] = kind
    batch['genetic_code'][:, here] = genetic_code
    if kind in (records.CDS, records.PROTEIN):
      batch['codon_phase'][:, here] = np.arange(length) % 3
      batch['codon_is_sampled'][:, here] = kind == records.PROTEIN
      batch['amino_acid'][:, here] = [
        central_dogma.translate(row, genetic_code).repeat(3) for row in bases
      ]
  batch['sequence'][:, 4] = records.N
  return batch


def on_device(batch):
  """The batch as JAX arrays."""
  return jax.tree.map(jnp.asarray, batch)


def segment(batch, number):
  """Rows that hold the segment alone, without padding."""
  start, length, _ = SEGMENTS[number]
  cut = {
    name: x[:, start // 3 : (start + length) // 3]
    if name == 'teacher'
    else x[:, start : start + length]
    for name, x in batch.items()
  }
  cut['segment_ids'] = np.ones_like(cut['segment_ids'])
  return cut
