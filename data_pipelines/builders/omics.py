"""Data sets of record shards: written whole or not at all."""

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from data_pipelines.builders import runners, staged
from data_pipelines.builders.manifest import Reject, describe
from data_pipelines.builders.shards import (
  FIELDS,
  OmicsSource,
  find_datasets,
  load_lengths,
  load_manifest,
  open_split,
  verify,
)
from data_pipelines.errors import InputError
from data_pipelines.records import Record

__all__ = [
  'FIELDS',
  'OmicsSource',
  'Reject',
  'check_target',
  'find_datasets',
  'load_lengths',
  'load_manifest',
  'open_split',
  'publish',
  'verify',
  'write',
]


def write(
  records: Mapping[str, Iterable[Record]],
  out: Path,
  name: str,
  *,
  provenance: Mapping[str, Any],
  rejects: Iterable[Reject] = (),
  counts: Mapping[str, Any] | None = None,
  overwrite: bool = False,
) -> dict[str, Any]:
  """Writes the data set `out/name` and returns its manifest.

  Shards are made aside and renamed at the end, so that no reader sees half a
  data set. One of other provenance is replaced only if `overwrite`. `rejects`
  is read after the records. Splits without a record are left out.
  """
  out = Path(out)
  check_target(out, name, provenance, overwrite=overwrite)
  out.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(prefix=f'.{name}.', dir=out) as aside:
    stage = staged.Stage(Path(aside), name, runners.here)
    folder, tally = stage.keep(records)
    directory = stage.write_shards([folder], tally)
    manifest = describe(
      directory,
      name,
      tally,
      provenance=provenance,
      rejects=rejects,
      counts=counts,
    )
    publish(directory.parent, out / name, Path(aside) / 'replaced')
  return manifest


def check_target(
  out: Path, name: str, provenance: Mapping[str, Any], *, overwrite: bool
) -> None:
  """Raises if `out/name` holds something else than this data set."""
  target = Path(out) / name
  if overwrite or not target.exists():
    return
  try:
    same = load_manifest(target)['provenance'] == json.loads(
      json.dumps(dict(provenance))
    )
  except InputError:
    same = False
  if not same:
    raise InputError(
      f'{target}: exists already with other content; give another --out or '
      '--name, or --overwrite to replace it'
    )


def publish(made: Path, target: Path, replaced: Path) -> None:
  """Puts a folder in its place; what was there goes to `replaced`."""
  if target.exists():
    os.rename(target, replaced)
  os.rename(made, target)
