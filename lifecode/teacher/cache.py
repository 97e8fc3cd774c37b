"""Runs a teacher over data sets once, and keeps its features on disk.

  python -m lifecode.teacher.cache --data=DIR --weights=FOLDER --out=DIR

`--config.data.features=OUT` then puts them into the batches, from where the
teacher `lifecode.teacher.features:Cached` takes them.
"""

import json
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jaxtyping import Float16, Int32, UInt8
from tqdm import tqdm

from backbone.array_types import PyTree
from backbone.train.state import parameters_sha256
from data_pipelines import features, records
from data_pipelines.builders import shards
from data_pipelines.errors import InputError
from data_pipelines.pack import first_fit
from lifecode.teacher.esm2 import PAD
from lifecode.teacher.features import Online
from lifecode.teacher.proteins import MAX_RESIDUES, TOKENS

# Proteins run in rows of so many units, and even the shortest one is given so
# much room that no more than `_MAX_PROTEINS` come into a row.
_ROW_UNITS, _MAX_PROTEINS = 2_048, 64
_SHORTEST = _ROW_UNITS // _MAX_PROTEINS
# Records that are read, run and written at a time.
_CHUNK = 256

_PATHS = ('data', 'weights', 'out')
_USAGE = (
  'usage: python -m lifecode.teacher.cache --data=DIR --weights=FOLDER'
  ' --out=CACHE'
)


def build(
  data: Sequence[pathlib.Path],
  out: pathlib.Path,
  *,
  weights: pathlib.Path,
  layer: int | str = 'last',
  dtype: str = 'float32',
  batch_rows: int = 8,
  overwrite: bool = False,
) -> features.FeatureCache:
  """Writes the features of every CDS and protein of all splits.

  A record gets one vector per codon, zeros at a stop. It gets none if it has
  more than 1,022 residues, or if its residues do not pair up with its codons.

  Args:
    data: Folders with data sets at or below them.
    out: The cache.
    weights: As `Online` has them; so are `layer` and `dtype`.
    batch_rows: Rows of 2,048 residues run at a time.
    overwrite: Whether to replace `out`.

  Raises:
    InputError: No data set or weights there, or `out` exists.
  """
  datasets = [d for path in data for d in shards.find_datasets(path)]
  if not datasets:
    raise InputError(f'{", ".join(map(str, data))}: no data set here or below')
  teacher = Online(
    str(weights), max_proteins=_MAX_PROTEINS, layer=layer, dtype=dtype
  )
  params = teacher.init()
  return features.write(
    out,
    datasets,
    _Runner(teacher, params, batch_rows).blocks,
    teacher={
      'label': teacher.label,
      'parameters_sha256': parameters_sha256(params),
      'width': teacher.width,
      'layer': layer,
      'dtype': dtype,
    },
    overwrite=overwrite,
  )


class _Runner:
  """Runs a teacher on many proteins side by side."""

  def __init__(self, teacher: Online, params: PyTree, batch_rows: int):
    self._width = teacher.width
    self._params = params
    self._batch_rows = batch_rows

    @jax.jit
    def run(params, residues, segment_ids):
      batch = {'amino_acid': residues, 'segment_ids': segment_ids}
      batch = {name: x.repeat(3, axis=1) for name, x in batch.items()}
      return teacher.features(params, batch).astype(jnp.float16)

    self._run = run

  def blocks(
    self, path: pathlib.Path, split: str
  ) -> Iterator[Float16[np.ndarray, '_ W']]:
    """[codons, W] of each record of a split, in order."""
    source = shards.open_split(path, split, ('kind', 'sequence', 'amino_acids'))
    name = f'{path.name} {split}'
    with tqdm(total=len(source), desc=name, unit='record') as progress:
      for start in range(0, len(source), _CHUNK):
        chunk = range(start, min(start + _CHUNK, len(source)))
        found = source.__getitems__(list(chunk))
        yield from self._together([_residues(record) for record in found])
        progress.update(len(chunk))

  def _together(
    self, proteins: Sequence[UInt8[np.ndarray, '_']]
  ) -> Iterator[Float16[np.ndarray, '_ W']]:
    blocks = [np.zeros((len(p), self._width), np.float16) for p in proteins]
    has_token = [TOKENS[protein] != PAD for protein in proteins]
    lengths = np.array([is_token.sum() for is_token in has_token])
    if lengths.any():
      room = np.where(lengths, np.maximum(lengths, _SHORTEST), 0)
      rows, offsets = first_fit(room, _ROW_UNITS)
      places = [
        (row, slice(offset, offset + length))
        for row, offset, length in zip(rows, offsets, lengths, strict=True)
      ]
      shape = (rows.max() + 1, _ROW_UNITS)
      residues = np.full(shape, records.NO_RESIDUE, np.uint8)
      segment_ids = np.zeros(shape, np.int32)
      for i, place in enumerate(places):
        residues[place] = proteins[i][has_token[i]]
        segment_ids[place] = i + 1
      found = self._run_rows(residues, segment_ids)
      for i, place in enumerate(places):
        blocks[i][has_token[i]] = found[place]
    yield from blocks

  def _run_rows(
    self,
    residues: UInt8[np.ndarray, 'R T'],
    segment_ids: Int32[np.ndarray, 'R T'],
  ) -> Float16[np.ndarray, 'R T W']:
    """In batches of one shape: the last one repeats rows to be full."""
    size = self._batch_rows
    batches = np.arange(-(-len(residues) // size) * size) % len(residues)
    parts = [
      self._run(self._params, residues[rows], segment_ids[rows])
      for rows in batches.reshape(-1, size)
    ]
    return np.concatenate(jax.device_get(parts))[: len(residues)]


def _residues(record: Mapping[str, Any]) -> UInt8[np.ndarray, '_']:
  """One per codon, stops included; none if it gets no features."""
  residues = record['amino_acids']
  is_short = (TOKENS[residues] != PAD).sum() <= MAX_RESIDUES
  is_read = record['kind'] in (records.CDS, records.PROTEIN)
  is_paired = 3 * len(residues) == len(record['sequence'])
  return residues if is_read and is_paired and is_short else residues[:0]


def main(arguments: list[str]) -> int:
  """Runs the command; returns 2 for what the user has to mend."""
  values = _define_flags()
  try:
    rest = values(arguments)[1:]
    if values.help:
      print(__doc__, values.get_help(), sep='\n')
      return 0
    missing = [name for name in _PATHS if not values[name].value]
    if rest or missing:
      wrong = f'unexpected {rest[0]}' if rest else f'--{missing[0]} is missing'
      raise InputError(f'{wrong}; {_USAGE}')
    cache = build(
      [pathlib.Path(path) for path in values.data],
      pathlib.Path(values.out),
      weights=pathlib.Path(values.weights),
      layer=int(values.layer) if values.layer.isdecimal() else values.layer,
      dtype=values.dtype,
      batch_rows=values.batch_rows,
      overwrite=values.overwrite,
    )
  except (InputError, flags.Error, OSError) as error:
    print(f'error: {" ".join(str(error).split())}', file=sys.stderr)
    return 2
  print(json.dumps({'out': values.out, **cache.manifest['teacher']}))
  return 0


def _define_flags() -> flags.FlagValues:
  # Not the global flags: a caller may run the command twice in one process.
  values = flags.FlagValues()
  define = {'flag_values': values}
  flags.DEFINE_list('data', [], 'Folders of data sets, by comma.', **define)
  flags.DEFINE_string('weights', '', 'Folder of the ESM-2 weights.', **define)
  flags.DEFINE_string('out', '', 'Folder to write the cache to.', **define)
  flags.DEFINE_string('layer', 'last', 'last, or a number from 0.', **define)
  flags.DEFINE_enum(
    'dtype', 'float32', ['float32', 'bfloat16'], 'Of activations.', **define
  )
  flags.DEFINE_integer('batch_rows', 8, 'Rows of 2,048 at a time.', 1, **define)
  flags.DEFINE_bool('overwrite', False, 'Replace what is there.', **define)
  flags.DEFINE_bool('help', False, 'Show this.', **define)
  return values


if __name__ == '__main__':
  sys.exit(main(sys.argv))
