"""From the command line to a checked configuration; imports nothing heavy."""

import json
import pathlib
import re
import runpy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from absl import flags
from ml_collections import config_flags

from experiments import common

USAGE = (
  'usage: python -m experiments.run --config=FILE[:arg] --workdir=DIR '
  '[--checkpoints=gs://BUCKET/DIR] [--config.a.b=value ...] '
  '[--coordinator=HOST:PORT --processes=N --process=I]'
)

PARTS = common.Signature(
  known=(
    'title',
    'seed',
    'objective',
    'data',
    'optimizer',
    'train',
    'mesh',
    'sharding',
    'tables',
  ),
  required=('objective', 'data', 'train'),
)
# What the parts without a name are made by.
_OF_SECTION = {
  'train': 'backbone.train.loop:Run',
  'mesh': 'backbone.sharding:make_mesh',
  'sharding': 'backbone.sharding:make_rules',
}
DEFAULTS = {
  'title': '',
  'seed': 0,
  'optimizer': {'name': 'backbone.train.optim:AdamW'},
  'mesh': {},
  'sharding': {},
  'tables': [],
}


class Flags(NamedTuple):
  """The command line, read.

  Attributes:
    config: The configuration.
    file: Where it is from, with its argument.
    workdir: Of the run.
    checkpoint_dir: Folder or gs:// address of its checkpoints; None is
      WORKDIR/checkpoints.
    processes: What `backbone.train.processes.start` is given.
  """

  config: dict[str, Any]
  file: str
  workdir: pathlib.Path
  checkpoint_dir: str | None
  processes: dict[str, str | int | None]


def read_flags(argv: Sequence[str]) -> Flags:
  """All that is said there.

  Raises:
    common.ConfigError: The command line does not make sense.
  """
  values = flags.FlagValues()
  flags.DEFINE_string('workdir', None, 'Output.', flag_values=values)
  flags.DEFINE_string('checkpoints', None, 'Where.', flag_values=values)
  flags.DEFINE_string('coordinator', None, 'Address.', flag_values=values)
  flags.DEFINE_integer('processes', None, 'How many.', flag_values=values)
  flags.DEFINE_integer('process', None, 'Which.', flag_values=values)
  named = [a.split('=', 1)[1] for a in argv if a.startswith('--config=')]
  if len(named) != 1:
    raise common.ConfigError(USAGE)
  file, _, arg = named[0].partition(':')
  # Loaded here first: the flag would wrap the file's own error in a traceback.
  config = load_config(file, arg)
  left_out = [x for x in argv[1:] if _is_left_out(config, x)]
  argv = [argument for argument in argv if argument not in left_out]
  holder = config_flags.DEFINE_config_file(
    'config', flag_values=values, sys_argv=[*argv]
  )
  for override in argv[1:]:
    _check_override(config, override, file)
  try:
    rest = values([*argv])
    config = holder.value.to_dict()
    for override in left_out:
      _set(config, override)
  except (flags.Error, AttributeError, KeyError, TypeError) as error:
    text = error.args[0] if error.args else error
    raise common.ConfigError(f'{file}: {text}; {USAGE}') from error
  if len(rest) > 1 or not values.workdir:
    unexpected = f'unexpected {rest[1]}; ' if len(rest) > 1 else ''
    raise common.ConfigError(unexpected + USAGE)
  plain = json.loads(json.dumps(config))
  together = {
    'coordinator': values.coordinator,
    'number': values.processes,
    'index': values.process,
  }
  where = values.checkpoints
  if where and ':/' in where and not re.fullmatch(r'gs://[^/]+/[^/].*', where):
    raise common.ConfigError(
      f'--checkpoints={where}: give a folder, or gs://BUCKET/FOLDER'
    )
  workdir = pathlib.Path(values.workdir)
  config = {**DEFAULTS, **plain}
  return Flags(config, named[0], workdir, where, together)


def load_config(file: str, arg: str) -> Any:
  """Calls `get_config` of an experiment file.

  Raises:
    common.ConfigError: It cannot be read, or refuses its argument.
  """
  if not pathlib.Path(file).is_file():
    raise common.ConfigError(f'{file}: there is no such experiment file')
  try:
    get_config = runpy.run_path(file).get('get_config')
    if get_config is None:
      raise common.ConfigError('it has no get_config')
    return get_config(arg) if arg else get_config()
  except (ImportError, SyntaxError, TypeError, ValueError) as error:
    raise common.ConfigError(f'{file}: {error}') from error


def _is_left_out(config: Any, override: str) -> bool:
  """Whether it is of a setting with a default that the file does not name."""
  path, _, _ = override.removeprefix('--config.').partition('=')
  section, _, key = path.partition('.')
  if not override.startswith('--config.') or section not in _OF_SECTION:
    return False
  given = config.to_dict().get(section, {})
  name = _OF_SECTION[section]
  known = common.read_signature(name, f'config.{section}').known
  return key in known and key not in (*given, 'devices')


def _set(config: dict[str, Any], override: str) -> None:
  path, _, text = override.removeprefix('--config.').partition('=')
  section, _, key = path.partition('.')
  values = {'True': True, 'False': False}
  if section != 'sharding':
    values = {text: int(text)} if re.fullmatch(r'-?\d+', text) else {}
  if text not in values:
    wanted = 'True or False' if section == 'sharding' else 'a whole number'
    raise common.ConfigError(
      f'config.{section}.{key}: {text!r} is not {wanted}'
    )
  config.setdefault(section, {})[key] = values[text]


def _check_override(config: Any, override: str, file: str) -> None:
  if not override.startswith('--config.'):
    return
  path = override.split('=', 1)[0].removeprefix('--config.').split('.')
  for i, key in enumerate(path):
    where = '.'.join(['config', *path[:i]])
    known = config.keys() if hasattr(config, 'keys') else ()
    is_known = common.Signature(tuple(known), ())
    common.check_keys([key], is_known, f'{file}: {where}')
    config = config[key]


def validate(config: Mapping[str, Any]) -> None:
  """Checks every key by syntax trees alone: the first second of a run.

  Raises:
    common.ConfigError: A key is unknown, or one is missing.
  """
  common.check_keys(config.keys(), PARTS, 'config', 'an experiment')
  for part in ('objective', 'data', 'optimizer'):
    if not common.is_object(config[part]):
      raise common.ConfigError(f"config.{part}: needs name='module:Name'")
  data = dict(config['data'])
  prepare = data.pop('prepare', None)
  if prepare:
    common.check(
      prepare_config(prepare), 'config.data.prepare', filled_in=('out',)
    )
  common.check(config['objective'], 'config.objective')
  common.check(data, 'config.data', filled_in=('path',) if prepare else ())
  common.check(config['optimizer'], 'config.optimizer')
  common.check(run_config(config), 'config.train')
  common.check(mesh_config(config), 'config.mesh')
  common.check(sharding_config(config), 'config.sharding')
  for where, table in table_configs(config):
    if not common.is_object(table):
      raise common.ConfigError(f"{where}: needs name='module:Name'")
    common.check(table, where)


def prepare_config(prepare: Any) -> Mapping[str, Any]:
  """The function that makes the data, as an object."""
  return {'name': prepare} if isinstance(prepare, str) else prepare


def run_config(config: Mapping[str, Any]) -> dict[str, Any]:
  """`config.train` as an object of the loop's."""
  return {'name': _OF_SECTION['train'], **config['train']}


def mesh_config(config: Mapping[str, Any]) -> dict[str, Any]:
  """`config.mesh` as a call of `make_mesh`."""
  return {'name': _OF_SECTION['mesh'], **config['mesh']}


def sharding_config(config: Mapping[str, Any]) -> dict[str, Any]:
  """`config.sharding` as a call of `make_rules`."""
  return {'name': _OF_SECTION['sharding'], **config['sharding']}


def table_configs(config: Mapping[str, Any]) -> list[tuple[str, Any]]:
  """Each results table and its path."""
  tables = config['tables']
  if isinstance(tables, Mapping):
    return [(f'config.tables.{k}', v) for k, v in tables.items()]
  return [(f'config.tables[{i}]', v) for i, v in enumerate(tables)]
