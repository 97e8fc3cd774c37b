"""Tensors of models as Hugging Face publishes them, by name."""

import json
import pathlib
import pickle
from collections.abc import Callable

import numpy as np
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
