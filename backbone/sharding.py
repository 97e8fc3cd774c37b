"""Where arrays live: the only file that names mesh axes.

Models name logical axes (`shard(x, 'batch', 'length', 'embed')`); `AxisRules`
maps those to the mesh axes `data`, `seq` and `model`. Parameters are placed by
ordered (regex, logical axes) rules on their path, outside the model, after
google-research/big_vision `sharding.py`.
"""

import dataclasses
import re
from collections.abc import Sequence

import jax
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from backbone.array_types import PyTree

MESH_AXES = ('data', 'seq', 'model')

Axis = str | tuple[str, ...] | None
# Of devices, or of sizes alone.
AnyMesh = Mesh | AbstractMesh


@dataclasses.dataclass(frozen=True)
class AxisRules:
  """Logical axis -> mesh axis; a misspelt axis is an AttributeError.

  Attributes:
    batch: Rows of a batch.
    length: Tokens or bases of a row.
    embed: Embedding width of activations.
    parameter_embed: Embedding width of parameters ('data' is FSDP).
    heads: Heads of attention and of the delta rule.
    mlp: Hidden width of feed-forward blocks.
    vocab: Rows of an embedding table, classes of a head.
  """

  batch: Axis = 'data'
  length: Axis = 'seq'
  embed: Axis = None
  parameter_embed: Axis = None
  heads: Axis = 'model'
  mlp: Axis = 'model'
  vocab: Axis = None

  def spec(self, *logical_axes: str | None) -> P:
    """The PartitionSpec of an array with these logical axes.

    Raises:
      ValueError: Two dimensions would share a mesh axis.
    """
    axes = [a and getattr(self, a) for a in logical_axes]
    used = [n for a in axes if a for n in ((a,) if isinstance(a, str) else a)]
    if len(used) != len(set(used)):
      raise ValueError(f'{logical_axes} puts two dimensions on one mesh axis')
    return P(*axes)


DEFAULT_RULES = AxisRules()


def make_rules(split_parameters: bool = False) -> AxisRules:
  """The rules of a run.

  Args:
    split_parameters: Over `data` as well: each device holds a part and gathers
      the rest where it is used (FSDP).
  """
  return AxisRules(parameter_embed='data' if split_parameters else None)


# First match wins; axes are those of the trailing dimensions, so a stacked
# parameter (a leading layer axis) takes the rule of its block.
PARAMETER_RULES: tuple[tuple[str, tuple[str | None, ...]], ...] = (
  (r'heads_in/kernel$', ('parameter_embed', 'heads', None)),
  (r'heads_out/kernel$', ('heads', None, 'parameter_embed')),
  (r'heads_convolution/kernel$', (None, 'heads', None)),
  (r'(decay|beta)/kernel$', ('parameter_embed', 'heads')),
  (r'(decay_log_rate|decay_bias)$', ('heads',)),
  (r'(up|gate)/kernel$', ('parameter_embed', 'mlp')),
  (r'down/kernel$', ('mlp', 'parameter_embed')),
  (r'table$', ('vocab', None)),
  (r'(merges/\d+|merge|unmerge|head|projection)/kernel$', (None, None)),
  (r'(translation|projector|embed|heads/\d+|bases)/kernel$', (None, None)),
  (r'alignment/prototypes$', ('vocab', None)),
  (r'(enter|place|query|key|value|output|weigh|inner)/kernel$', (None, None)),
  (r'(scale|offset|bias|mask)$', (None,)),
  (r'(convolution|stem|pool|position)/kernel$', (None, None)),
  # Small beside their kernel, so one copy everywhere.
  (r'lora_[ab]$', ()),
)


def make_mesh(
  data: int = -1,
  seq: int = 1,
  model: int = 1,
  *,
  devices: Sequence[jax.Device] | None = None,
) -> Mesh:
  """The mesh, with Auto axes; one size may be -1, meaning all that is left.

  Raises:
    ValueError: The sizes do not multiply to the number of devices.
  """
  devices = list(jax.devices() if devices is None else devices)
  sizes = [data, seq, model]
  if sizes.count(-1) == 1:
    known = -data * seq * model
    sizes[sizes.index(-1)] = len(devices) // known
  if sizes[0] * sizes[1] * sizes[2] != len(devices):
    raise ValueError(
      f'a mesh of data={data}, seq={seq}, model={model} does not fill '
      f'{len(devices)} devices: change --config.mesh'
    )
  return jax.make_mesh(
    tuple(sizes), MESH_AXES, (AxisType.Auto,) * 3, devices=devices
  )


def partition(
  shape: tuple[int, ...],
  *logical_axes: str | None,
  rules: AxisRules = DEFAULT_RULES,
) -> P | None:
  """How an array of this shape is split on the mesh in use; None without one.

  A mesh axis that does not divide its dimension is left out.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or mesh.size == 1:
    return None
  axes = zip(shape, rules.spec(*logical_axes), strict=True)
  return P(
    *(a if size % _axis_size(mesh, a) == 0 else None for size, a in axes)
  )


def shard(
  x: jax.Array, *logical_axes: str | None, rules: AxisRules = DEFAULT_RULES
) -> jax.Array:
  """Constrains `x` to its logical axes on the mesh in use, if there is one."""
  spec = partition(x.shape, *logical_axes, rules=rules)
  return x if spec is None else jax.lax.with_sharding_constraint(x, spec)


def param_specs(
  tree: PyTree, mesh: AnyMesh, rules: AxisRules = DEFAULT_RULES
) -> PyTree:
  """A NamedSharding for each array of `tree`, by its path.

  Optimizer moments follow their parameters, whose path theirs ends with.

  Raises:
    ValueError: No rule matches, or a mesh axis does not divide its dimension.
  """

  def place(path, leaf) -> NamedSharding:
    if not leaf.shape:
      return NamedSharding(mesh, P())
    name = path_name(path)
    logical_axes = _matching_rule(name, leaf.shape)
    leading = len(leaf.shape) - len(logical_axes)
    spec = rules.spec(*(None,) * leading, *logical_axes)
    for size, axis in zip(leaf.shape, spec, strict=True):
      if size % _axis_size(mesh, axis):
        raise ValueError(
          f'parameter {name}{leaf.shape}: a dimension of {size} cannot be '
          f'split over mesh axis {axis} of {_axis_size(mesh, axis)} devices'
        )
    return NamedSharding(mesh, spec)

  return jax.tree_util.tree_map_with_path(place, tree)


def batch_sharding(
  mesh: AnyMesh, rules: AxisRules = DEFAULT_RULES
) -> NamedSharding:
  """How every [B, N] array of a batch is split."""
  return NamedSharding(mesh, rules.spec('batch', 'length'))


def replicated(mesh: AnyMesh) -> NamedSharding:
  """One copy on every device."""
  return NamedSharding(mesh, P())


def path_name(path: tuple) -> str:
  """`blocks/0/mixer/query/kernel` of a tree path, without a value suffix."""
  parts = [
    str(getattr(k, 'key', getattr(k, 'idx', getattr(k, 'name', k))))
    for k in path
  ]
  return '/'.join(parts[:-1] if parts[-1:] == ['value'] else parts)


def _matching_rule(name: str, shape: tuple[int, ...]) -> tuple[str | None, ...]:
  for pattern, logical_axes in PARAMETER_RULES:
    if re.search(pattern, name):
      return logical_axes
  raise ValueError(
    f'no sharding rule for parameter {name}{shape}: add one to '
    'PARAMETER_RULES in backbone/sharding.py'
  )


def _axis_size(mesh, axis: Axis) -> int:
  if axis is None:
    return 1
  names = (axis,) if isinstance(axis, str) else axis
  size = 1
  for name in names:
    size *= mesh.shape[name]
  return size
