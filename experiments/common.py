"""What experiment files and the entry points share; imports nothing heavy."""

import ast
import dataclasses
import difflib
import importlib
import importlib.util
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any


class ConfigError(ValueError):
  """A configuration to be mended: one line saying where, what, the nearest.

  Entry points print the message alone and exit with status 2.
  """


def choose(arg: str | None, allowed: Iterable[str], default: str = '') -> str:
  """The argument behind `--config=FILE:`, `default` if none.

  Raises:
    ConfigError: It is not one of `allowed`.
  """
  allowed = tuple(allowed)
  if arg and arg not in allowed:
    raise ConfigError(
      f'the experiment takes :{" :".join(allowed)}, not :{arg}'
      f'{_nearest(arg, allowed)}'
    )
  return arg or default


@dataclasses.dataclass(frozen=True)
class Signature:
  """Keyword arguments of an object, read without importing it."""

  known: tuple[str, ...]
  required: tuple[str, ...]
  is_open: bool = False


def is_object(value: Any) -> bool:
  """True for a mapping with a name such as 'lifecode.objective:pretrain'."""
  return isinstance(value, Mapping) and ':' in str(value.get('name', ''))


def check_keys(
  given: Iterable[str], signature: Signature, where: str, what: str = ''
) -> None:
  """Refuses keys that a constructor does not take, or misses.

  Raises:
    ConfigError: Naming the key, the object and the nearest known key.
  """
  given = set(given)
  for key in sorted(given):
    if key not in signature.known and not signature.is_open:
      raise ConfigError(
        f'{where}.{key}: unknown key{f" of {what}" if what else ""}'
        f'{_nearest(key, signature.known)}; '
        f'known keys: {", ".join(signature.known) or "none"}'
      )
  missing = [key for key in signature.required if key not in given]
  if missing:
    raise ConfigError(
      f'{where}: {what} needs {", ".join(missing)}, which the configuration '
      'does not give'
    )


def check(value: Any, where: str, *, filled_in: tuple[str, ...] = ()) -> None:
  """Checks every object below `value` by its source, without importing it.

  Args:
    value: Part of a configuration.
    where: Its path, for the message.
    filled_in: Keys that the entry point adds later.

  Raises:
    ConfigError: A key or an object does not exist.
  """
  if isinstance(value, Mapping):
    if is_object(value):
      signature = read_signature(value['name'], where)
      keys = (value.keys() - {'name'}) | set(filled_in)
      check_keys(keys, signature, where, value['name'])
    for key, part in value.items():
      check(part, f'{where}.{key}')
  elif isinstance(value, (list, tuple)):
    for i, part in enumerate(value):
      check(part, f'{where}[{i}]')


def build(value: Any, where: str, **filled_in: Any) -> Any:
  """Builds the objects named in `value`, innermost first; lists become tuples.

  Raises:
    ConfigError: A constructor refused its arguments.
  """
  if isinstance(value, (list, tuple)):
    return tuple(build(v, f'{where}[{i}]') for i, v in enumerate(value))
  if not isinstance(value, Mapping):
    return value
  built = {k: build(v, f'{where}.{k}') for k, v in value.items()}
  if not is_object(value):
    return built
  name = built.pop('name')
  module, _, attribute = name.partition(':')
  constructor = getattr(importlib.import_module(module), attribute)
  try:
    return constructor(**built, **filled_in)
  except (TypeError, ValueError) as error:
    if not _is_about_arguments(error):
      raise
    raise ConfigError(f'{where}: {name}: {error}') from error


def read_signature(name: str, where: str) -> Signature:
  """Keyword arguments of `module:Name`, from the module's syntax tree.

  Fields of a dataclass, the arguments of `__init__` or those of a function.
  `is_open` where inheritance or a re-export hides them.

  Raises:
    ConfigError: There is no such module or no such name in it.
  """
  module, _, attribute = name.partition(':')
  try:
    spec = importlib.util.find_spec(module)
  except ModuleNotFoundError:
    spec = None
  if spec is None or not spec.origin:
    raise ConfigError(f'{where}.name: there is no module {module}')
  tree = ast.parse(pathlib.Path(spec.origin).read_text())
  names = []
  for node in tree.body:
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
      names.append(node.name)
      if node.name == attribute:
        return _signature_of(node)
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
      imported = [a.asname or a.name for a in node.names]
      if attribute in imported:
        return Signature((), (), is_open=True)
    elif isinstance(node, ast.Assign):
      names += [t.id for t in node.targets if isinstance(t, ast.Name)]
  if attribute in names:
    return Signature((), (), is_open=True)
  raise ConfigError(
    f'{where}.name: module {module} has no {attribute}'
    f'{_nearest(attribute, names)}'
  )


def _signature_of(node: ast.FunctionDef | ast.ClassDef) -> Signature:
  if isinstance(node, ast.FunctionDef):
    return _arguments_of(node, skip=0)
  for member in node.body:
    if isinstance(member, ast.FunctionDef) and member.name == '__init__':
      return _arguments_of(member, skip=1)
  fields = [
    member
    for member in node.body
    if isinstance(member, ast.AnnAssign)
    and isinstance(member.target, ast.Name)
    and 'ClassVar' not in ast.unparse(member.annotation)
  ]
  return Signature(
    tuple(f.target.id for f in fields),
    tuple(f.target.id for f in fields if f.value is None),
    is_open=bool(node.bases),
  )


def _arguments_of(node: ast.FunctionDef, skip: int) -> Signature:
  positional = [a.arg for a in node.args.posonlyargs + node.args.args][skip:]
  num_required = len(positional) - len(node.args.defaults)
  keyword = [a.arg for a in node.args.kwonlyargs]
  required = positional[: max(num_required, 0)] + [
    name
    for name, default in zip(keyword, node.args.kw_defaults, strict=True)
    if default is None
  ]
  return Signature(
    tuple(positional + keyword),
    tuple(required),
    is_open=node.args.kwarg is not None,
  )


def _is_about_arguments(error: Exception) -> bool:
  """True if the constructor itself complained, not something deep below.

  Subclasses of ValueError, such as InputError, carry their own message.
  """
  if type(error) is TypeError:
    return 'argument' in str(error)
  return type(error) is ValueError


def _nearest(key: str, known: Iterable[str]) -> str:
  close = difflib.get_close_matches(key, list(known), n=2, cutoff=0.5)
  return f' (did you mean {" or ".join(close)}?)' if close else ''
