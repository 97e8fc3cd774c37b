"""Low-rank adapters (LoRA, arXiv:2106.09685) as functions of parameter trees.

A kernel W becomes W + (alpha / rank) A B before the model is called, so no
module knows of adapters, and merging them is the same call, once.
"""

import dataclasses
import math
import re

import jax
import jax.numpy as jnp
import numpy as np

from backbone.array_types import Array, Float, PRNGKey, PyTree
from backbone.sharding import path_name

Adapters = dict[str, dict[str, jax.Array]]

# How many trailing axes of a kernel are read and made, as its `Linear` was
# told (backbone/nn/linear.py); axes before those are layers (nn/stack.py).
# First match wins; None: not a matrix, so without a low rank.
KERNEL_AXES: tuple[tuple[str, tuple[int, int] | None], ...] = (
  (r'convolution/kernel$', None),
  (r'heads_in/kernel$', (1, 2)),
  (r'heads_out/kernel$', (2, 1)),
  (r'unmerge/kernel$', (1, 2)),
  (r'merge/kernel$', (2, 1)),
  (r'(decay|beta|up|gate|down|projection|head)/kernel$', (1, 1)),
)


@dataclasses.dataclass(frozen=True)
class LoRAConfig:
  """Which kernels are adapted, and by how much.

  Attributes:
    rank: r; an adapter has r (inputs + outputs) parameters a layer.
    alpha: The product counts alpha / rank.
    pattern: Regex on the path of a kernel.
  """

  rank: int = 8
  alpha: float = 16.0
  pattern: str = r'(^|/)backbone/.*kernel$'

  def __post_init__(self):
    if self.rank < 1:
      raise ValueError(f'rank={self.rank}; it must be at least 1')
    if not (self.alpha > 0 and math.isfinite(self.alpha)):
      raise ValueError(f'alpha={self.alpha}; it must be positive')


def init(params: PyTree, config: LoRAConfig, key: PRNGKey) -> Adapters:
  """Adapters by the path of their kernel; A is random, B zero.

  A is [layers..., inputs..., rank], normal of deviation 1 / sqrt(inputs); B is
  [layers..., rank, outputs...].

  Raises:
    ValueError: The pattern matches no kernel, or one of unknown axes.
  """
  kernels = {
    path_name(path): leaf for path, leaf in jax.tree.leaves_with_path(params)
  }
  axes = {
    name: _kernel_axes(name)
    for name in kernels
    if re.search(config.pattern, name)
  }
  axes = {name: found for name, found in axes.items() if found}
  if not axes:
    raise ValueError(
      f'the LoRA pattern {config.pattern!r} matches no kernel of the model, '
      f'whose paths are such as {next(iter(kernels), None)}'
    )
  shapes = {name: _shapes(kernels[name], *axes[name]) for name in axes}
  sizes = [
    math.prod((*layers, *inputs)) for layers, inputs, _ in shapes.values()
  ]
  # One draw for all: each shape of its own would be compiled.
  noise = jax.random.normal(key, (sum(sizes) * config.rank,))
  parts = jnp.split(noise, np.cumsum(sizes)[:-1] * config.rank)
  return {
    name: {
      'lora_a': part.reshape(*layers, *inputs, config.rank)
      / math.sqrt(math.prod(inputs)),
      'lora_b': jnp.zeros((*layers, config.rank, *outputs)),
    }
    for (name, (layers, inputs, outputs)), part in zip(
      shapes.items(), parts, strict=True
    )
  }


def apply(params: PyTree, adapters: Adapters, config: LoRAConfig) -> PyTree:
  """`params` with W + (alpha / rank) A B for every adapted kernel W.

  Raises:
    ValueError: An adapter's kernel is not among `params`.
  """
  left = set(adapters)

  def adapted(path, leaf):
    name = path_name(path)
    if name not in adapters:
      return leaf
    left.discard(name)
    return leaf + config.alpha / config.rank * _product(adapters[name], leaf)

  merged = jax.tree_util.tree_map_with_path(adapted, params)
  if left:
    raise ValueError(f'the model has no {sorted(left)[0]} to adapt')
  return merged


def _kernel_axes(name: str) -> tuple[int, int] | None:
  for pattern, axes in KERNEL_AXES:
    if re.search(pattern, name):
      return axes
  raise ValueError(
    f'the LoRA pattern matches {name}, whose axes are unknown: add a row to '
    'KERNEL_AXES in backbone/downstream/lora.py or narrow the pattern'
  )


def _shapes(
  kernel: Float[Array, '...'], num_inputs: int, num_outputs: int
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
  """Sizes of the layers, the inputs and the outputs."""
  at = kernel.ndim - num_outputs
  return (
    kernel.shape[: at - num_inputs],
    kernel.shape[at - num_inputs : at],
    kernel.shape[at:],
  )


def _product(
  adapter: dict[str, jax.Array], kernel: Float[Array, '...']
) -> Float[Array, '...']:
  """A B in the kernel's shape."""
  a, b = adapter['lora_a'], adapter['lora_b']
  # A and B have the kernel's axes, the layers twice, and the rank twice.
  layers = kernel.shape[: a.ndim + b.ndim - 2 - kernel.ndim]
  rank = a.shape[-1]
  product = a.reshape(*layers, -1, rank) @ b.reshape(*layers, rank, -1)
  return product.reshape(kernel.shape).astype(kernel.dtype)
