"""Makes data sets: `python -m data_pipelines.build omics --out=DIR …`."""

import json
import sys
import time
from pathlib import Path

from absl import flags

from data_pipelines.builders import annotated_genome
from data_pipelines.builders.splits import SplitConfig
from data_pipelines.errors import InputError

_FLAGS = flags.FlagValues()
_STRING = {
  'out': 'Folder of data sets; this one goes to OUT/NAME.',
  'name': 'Name of the data set; by default that of the genome file.',
  'fasta': 'Genome in FASTA, plain or gzip.',
  'gff': 'Its annotation in GFF3 or GTF, plain or gzip.',
  'proteins': 'Its proteins in FASTA, to compare every CDS with.',
  'genbank': 'Genome, annotation and proteins in one GenBank file.',
}
for _name, _help in _STRING.items():
  flags.DEFINE_string(_name, None, _help, flag_values=_FLAGS)
flags.DEFINE_string(
  'genetic_code',
  '1',
  'NCBI table, and others by contig: 1,chrMT:3.',
  flag_values=_FLAGS,
)
flags.DEFINE_integer(
  'window', 6144, 'Bases in a genome record.', 1, flag_values=_FLAGS
)
flags.DEFINE_integer(
  'seed', 0, 'Of codons drawn for proteins without a CDS.', flag_values=_FLAGS
)
flags.DEFINE_string(
  'split', 'auto', 'auto, contig, block or hash.', flag_values=_FLAGS
)
flags.DEFINE_list(
  'held_out',
  ['0.05', '0.05'],
  'Shares of the bases for validation and test.',
  flag_values=_FLAGS,
)
flags.DEFINE_list(
  'validation_contigs', [], 'Contigs for validation.', flag_values=_FLAGS
)
flags.DEFINE_list(
  'test_contigs', [], 'Contigs for the test.', flag_values=_FLAGS
)
flags.DEFINE_bool(
  'overwrite', False, 'Replace a data set of other content.', flag_values=_FLAGS
)

_SUFFIXES = ('.gz', '.bgz', '.fa', '.fna', '.fasta', '.gb', '.gbk', '.gbff')


def main(arguments: list[str]) -> int:
  """Runs one command; returns 2 for what the user has to mend."""
  started = time.monotonic()
  try:
    genome, out = _parse(arguments)
    summary = annotated_genome.build(genome, out, overwrite=_FLAGS.overwrite)
  except (InputError, flags.Error, OSError) as error:
    print(f'error: {error}', file=sys.stderr)
    return 2
  summary['seconds'] = round(time.monotonic() - started, 1)
  print(json.dumps(summary))
  return 0


def _parse(arguments: list[str]) -> tuple[annotated_genome.Genome, Path]:
  rest = _FLAGS(arguments)[1:]
  if rest != ['omics']:
    raise InputError(
      f'expected the command omics, got {" ".join(rest) or "nothing"}; '
      'python -m data_pipelines.build omics --out=DIR --fasta=F --gff=G'
    )
  if not _FLAGS.out:
    raise InputError('--out is missing: the folder to write the data set to')
  given = {
    role: Path(_FLAGS[role].value) if _FLAGS[role].value else None
    for role in ('fasta', 'gff', 'proteins', 'genbank')
  }
  genome = annotated_genome.Genome(
    name=_FLAGS.name or _default_name(given['fasta'] or given['genbank']),
    **given,
    genetic_code=_FLAGS.genetic_code,
    window=_FLAGS.window,
    seed=_FLAGS.seed,
    held_out=SplitConfig(
      _FLAGS.split,
      *_held_out(_FLAGS.held_out),
      tuple(_FLAGS.validation_contigs),
      tuple(_FLAGS.test_contigs),
    ),
  )
  return genome, Path(_FLAGS.out)


def _held_out(texts: list[str]) -> tuple[float, float]:
  try:
    validation, test = map(float, texts)
  except ValueError as error:
    raise InputError(
      f'--held_out={",".join(texts)}: expected two shares, like 0.05,0.05'
    ) from error
  return validation, test


def _default_name(path: Path | None) -> str:
  if path is None:
    raise InputError('give either --fasta (with --gff) or --genbank')
  name = path.name
  while name.endswith(_SUFFIXES):
    name = name[: name.rindex('.')]
  # TFDS parts names of files by hyphens.
  return ''.join(c if c.isalnum() else '_' for c in name).lower()


if __name__ == '__main__':
  sys.exit(main(sys.argv))
