"""Weights of models as Hugging Face publishes them, by name."""

import json
import pathlib
import pickle
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from flax import nnx
from safetensors import SafetensorError
from safetensors.numpy import load_file

from data_pipelines.errors import InputError

# A model is one of these; in parts, `<name>.index.json` lists them.
FILES = ('model.safetensors', 'pytorch_model.bin')


def read_tensors(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """All tensors of a folder, in float32 where the file is torch's.

  Raises:
    InputError: Files are missing, incomplete or damaged.
  """
  readers = dict(zip(FILES, (load_file, _load_pickled), strict=True))
  for name, read in readers.items():
    if (folder / name).exists():
      return _read(read, folder / name)
    index = folder / f'{name}.index.json'
    if index.exists():
      try:
        parts = set(json.loads(index.read_text())['weight_map'].values())
      except (ValueError, KeyError, AttributeError) as error:
        raise InputError(f'{index}: no weight_map ({error!r})') from error
      tensors = {}
      for part in sorted(parts):
        tensors |= _read(read, folder / part)
      return tensors
  raise InputError(f'{folder}: no {" and no ".join(FILES)}')


def _read(read: Callable, file: pathlib.Path) -> dict[str, np.ndarray]:
  if not file.exists():
    raise InputError(f'{file}: missing, though its index names it')
  try:
    return read(file)
  except (
    SafetensorError,
    OSError,
    EOFError,
    RuntimeError,
    pickle.UnpicklingError,
  ) as error:
    raise InputError(f'{file}: cannot be read ({error})') from error


def _load_pickled(file: pathlib.Path) -> dict[str, np.ndarray]:
  try:
    import torch
  except ImportError as error:
    raise InputError(
      f"{file}: needs torch: pip install 'multiomics-jax[parity]', or put "
      f'{FILES[0]} there'
    ) from error
  tensors = torch.load(file, map_location='cpu', weights_only=True)
  return {name: tensor.float().numpy() for name, tensor in tensors.items()}


Shape = tuple[int, ...]


class Layout(NamedTuple):
  """How an array stands in a file.

  Attributes:
    shape: Of our shape, the file's.
    read: Of the file's array and our shape, ours.
  """

  shape: Callable[[Shape], Shape]
  read: Callable[[np.ndarray, Shape], np.ndarray]


def matrix(num_inputs: int) -> Layout:
  """[outputs, inputs]; ours has `num_inputs` axes of inputs, then outputs."""

  def shape(ours: Shape) -> Shape:
    inputs, outputs = ours[:num_inputs], ours[num_inputs:]
    return int(np.prod(outputs)), int(np.prod(inputs))

  return Layout(shape, lambda x, ours: x.T.reshape(ours))


SAME = Layout(lambda ours: ours, lambda x, ours: x)


class Tensor(NamedTuple):
  """Where an array stands in our tree and in a file.

  Attributes:
    path: In our tree.
    name: In the file; of a stacked array that of each layer, by '{}', or
      '{0}' where its number is in it twice.
    layout: In the file.
  """

  path: tuple[str | int, ...]
  name: str
  layout: Layout


def fill(
  make: Callable[[], nnx.Module],
  tensors: Iterable[Tensor],
  found: Mapping[str, np.ndarray],
  *,
  source: str,
  unused: str,
) -> nnx.Module:
  """A model with published weights.

  Args:
    make: Makes one; called for its shapes alone.
    tensors: Of every parameter.
    found: The arrays by their names.
    source: Of them, for messages.
    unused: Pattern of names that the model has no parameter for.

  Raises:
    InputError: The first array that is missing, has another shape, or is not
      known.
  """
  graph, state = nnx.split(nnx.eval_shape(make))
  parameters = nnx.to_pure_dict(state)
  known: set[str] = set()
  for tensor in tensors:
    *parents, last = tensor.path
    place: Any = parameters
    for part in parents:
      place = place[part]
    place[last] = _in_ours(found, tensor, place[last].shape, source, known)
  for name in found:
    if name not in known and not re.search(unused, name):
      raise InputError(f'{source}: {name} is not in a model of this size')
  nnx.replace_by_pure_dict(state, parameters)
  return nnx.merge(graph, state)


def _in_ours(
  found: Mapping[str, np.ndarray],
  tensor: Tensor,
  shape: Shape,
  source: str,
  known: set[str],
) -> np.ndarray:
  """In our layout; of a stacked one all layers."""
  is_stacked = '{' in tensor.name
  names = [tensor.name.format(i) for i in range(shape[0] if is_stacked else 1)]
  shape = shape[1:] if is_stacked else shape
  wanted = tensor.layout.shape(shape)
  layers = []
  for name in names:
    if name not in found:
      raise InputError(f'{source}: {name} is missing')
    if found[name].shape != wanted:
      raise InputError(
        f'{source}: {name} is {found[name].shape}, in a model of this size it '
        f'is {wanted}'
      )
    known.add(name)
    layers.append(tensor.layout.read(found[name], shape))
  return np.stack(layers) if is_stacked else np.ascontiguousarray(layers[0])
