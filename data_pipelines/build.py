"""Makes data sets: `python -m data_pipelines.build omics --out=DIR …`."""

import json
import resource
import sys
import time
from pathlib import Path

from absl import flags

from data_pipelines.builders import annotated_genome, runners, staged
from data_pipelines.builders.alike import Alike
from data_pipelines.builders.splits import SplitConfig
from data_pipelines.errors import InputError

_SUFFIXES = ('.gz', '.bgz', '.fa', '.fna', '.fasta', '.gb', '.gbk', '.gbff')
_TEXTS = {
  'out': 'Folder of data sets; this one goes to OUT/NAME.',
  'name': 'Name of the data set; by default that of the genome file.',
  'fasta': 'Genome in FASTA, plain or gzip.',
  'gff': 'Its annotation in GFF3 or GTF, plain or gzip.',
  'proteins': 'Its proteins in FASTA, to compare every CDS with.',
  'genbank': 'Genome, annotation and proteins in one GenBank file.',
  'runner': 'Of Apache Beam, such as DirectRunner; by default none.',
}
_SHARES = {
  'near_duplicates': 'Leave out records that share so much with earlier ones.',
  'homology': 'Leave out of train what shares so much with held-out records.',
}
_LISTS = {
  'validation_contigs': 'Contigs for validation, by comma.',
  'test_contigs': 'Contigs for the test, by comma.',
}


def main(arguments: list[str]) -> int:
  """Runs one command; returns 2 for what the user has to mend."""
  started = time.monotonic()
  values = _define_flags()
  try:
    rest = values(arguments)[1:]
    if values.help:
      print(__doc__, values.get_help(), sep='\n')
      return 0
    genome, out = _parse(values, rest)
    summary = annotated_genome.build(
      genome, out, overwrite=values.overwrite, run=_runner(values)
    )
  except (InputError, flags.Error, OSError) as error:
    message = ' '.join(str(error).split())
    print(f'error: {message}', file=sys.stderr)
    return 2
  except KeyboardInterrupt:
    print(
      'error: stopped; the same command goes on from there', file=sys.stderr
    )
    return 130
  seconds = time.monotonic() - started
  summary['seconds'] = round(seconds, 1)
  if not summary['is_resumed']:
    summary['bases_per_second'] = round(summary['bases'] / seconds)
  summary['peak_gigabytes'] = round(_peak_bytes() / 1e9, 2)
  print(json.dumps(summary))
  return 0


def _peak_bytes() -> int:
  """Of this process, and of the largest that it waited for."""
  whose = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
  unit = 1 if sys.platform == 'darwin' else 1024
  return unit * max(resource.getrusage(who).ru_maxrss for who in whose)


def _define_flags() -> flags.FlagValues:
  # Not the global flags: a caller may run the command twice in one process.
  values = flags.FlagValues()
  for name, text in _TEXTS.items():
    flags.DEFINE_string(name, None, text, flag_values=values)
  for name, text in _LISTS.items():
    flags.DEFINE_list(name, [], text, flag_values=values)
  define = {'flag_values': values}
  flags.DEFINE_string(
    'genetic_code', '1', 'NCBI table, others by contig: 1,chrMT:3.', **define
  )
  flags.DEFINE_integer('window', 6144, 'Bases in a genome record.', 1, **define)
  flags.DEFINE_integer('seed', 0, 'Of the codons drawn for proteins.', **define)
  flags.DEFINE_string('split', 'auto', 'auto, contig, block or hash.', **define)
  flags.DEFINE_list(
    'held_out', ['0.05', '0.05'], 'Shares for validation and test.', **define
  )
  flags.DEFINE_multi_string(
    'beam_option',
    [],
    'Of Beam, one each: --direct_num_workers=8.',
    **define,
  )
  for name, text in _SHARES.items():
    flags.DEFINE_float(name, None, text, **define)
  flags.DEFINE_bool('overwrite', False, 'Replace other content.', **define)
  flags.DEFINE_bool('help', False, 'Show this.', **define)
  return values


def _parse(
  values: flags.FlagValues, rest: list[str]
) -> tuple[annotated_genome.Genome, Path]:
  if rest != ['omics']:
    raise InputError(
      f'expected the command omics, got {" ".join(rest) or "nothing"}; '
      'python -m data_pipelines.build omics --out=DIR --fasta=F --gff=G'
    )
  if not values.out:
    raise InputError('--out is missing: the folder to write the data set to')
  files = {
    role: Path(values[role].value) if values[role].value else None
    for role in ('fasta', 'gff', 'proteins', 'genbank')
  }
  genome = annotated_genome.Genome(
    name=values.name or _default_name(files['fasta'] or files['genbank']),
    **files,
    genetic_code=values.genetic_code,
    window=values.window,
    seed=values.seed,
    alike=Alike(values.near_duplicates, values.homology),
    held_out=SplitConfig(
      values.split,
      *_held_out(values.held_out),
      tuple(values.validation_contigs),
      tuple(values.test_contigs),
    ),
  )
  return genome, Path(values.out)


def _runner(values: flags.FlagValues) -> staged.Runner:
  options = tuple(values.beam_option)
  if not values.runner:
    if options:
      raise InputError('--beam_option is of a --runner; name one')
    return runners.here
  return runners.Beam(values.runner, options)


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
