"""Who may import whom, as CONTRIBUTING.md has it; read from syntax trees."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGES = (
  'backbone',
  'data_pipelines',
  'lifecode',
  'vqdna',
  'gta',
  'experiments',
  'tests',
)
PAPER = ('backbone', 'data_pipelines')

# A module may import of ours: itself or what is below a name of its row. The
# longest row that fits a module counts.
MAY_IMPORT = {
  'backbone.array_types': (),
  'backbone.sharding': ('backbone.array_types',),
  'backbone.memory': (),
  'backbone.kernels': ('backbone.kernels', 'backbone.array_types'),
  'backbone.kernels.bench': (
    'backbone.kernels',
    'backbone.array_types',
    'backbone.memory',
  ),
  'backbone.nn': (
    'backbone.nn',
    'backbone.kernels',
    'backbone.sharding',
    'backbone.array_types',
  ),
  'backbone.model': (
    'backbone.nn',
    'backbone.kernels',
    'backbone.sharding',
    'backbone.array_types',
  ),
  'backbone.train': (
    'backbone.train',
    'backbone.sharding',
    'backbone.array_types',
  ),
  # Counts the operations of traced steps.
  'backbone.train.utilisation': (
    'backbone.train',
    'backbone.array_types',
    'backbone.kernels.arithmetic',
    'backbone.kernels.dispatch',
  ),
  'backbone.downstream': ('backbone', 'data_pipelines'),
  'backbone.inference': ('backbone', 'data_pipelines'),
  'backbone': (),
  'data_pipelines': ('data_pipelines', 'backbone.array_types'),
  'lifecode': ('lifecode', *PAPER),
  'vqdna': ('vqdna', *PAPER),
  'gta': ('gta', *PAPER),
  # Errors of bad input end a run with a line, so the entry point knows them.
  'experiments': (
    'experiments',
    'backbone.train',
    'backbone.sharding',
    'backbone.memory',
    'backbone.array_types',
    'data_pipelines.errors',
  ),
  # Benchmarks and plans build what they time or cost.
  **dict.fromkeys(
    ('experiments.bench', 'experiments.planned', 'experiments.planner'),
    ('experiments', 'gta', 'lifecode', 'vqdna', *PAPER),
  ),
  'tests': PACKAGES,
}
MODULES = sorted(
  path for name in PACKAGES for path in (ROOT / name).rglob('*.py')
)


def is_below(module: str, package: str) -> bool:
  return module == package or module.startswith(package + '.')


def module_name(path: pathlib.Path) -> str:
  parts = path.relative_to(ROOT).with_suffix('').parts
  return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def row_of(module: str) -> str:
  if module.startswith('experiments.bench'):
    return 'experiments.bench'
  return max((r for r in MAY_IMPORT if is_below(module, r)), key=len)


def imported(path: pathlib.Path) -> set[str]:
  """Absolute names of all imports, `from a import b` as both a and a.b."""
  names = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, f'{path}: relative import'
      names |= {f'{node.module}.{alias.name}' for alias in node.names}
  return names


@pytest.mark.parametrize('path', MODULES, ids=module_name)
def test_imports_only_what_it_may(path):
  row = row_of(module_name(path))
  for name in imported(path):
    assert not is_below(name, 'tensorflow'), f'{path} imports {name}'
    if name.split('.')[0] not in PACKAGES:
      continue
    is_allowed = any(is_below(name, other) for other in MAY_IMPORT[row])
    assert is_allowed, f'{path} imports {name}; {row} may not'


def test_the_rules_notice_a_breach(tmp_path):
  assert row_of('backbone.train.loop') == 'backbone.train'
  assert row_of('backbone.model') == 'backbone.model'
  assert not is_below('backbone.nn_other', 'backbone.nn')
  path = tmp_path / 'm.py'
  path.write_text('from backbone import nn\nimport lifecode.model as m\n')
  assert imported(path) == {'backbone.nn', 'lifecode.model'}
