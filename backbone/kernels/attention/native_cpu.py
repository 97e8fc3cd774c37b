"""Softmax attention on a CPU: C++ that is compiled here and called by XLA.

Plain XLA cannot be as fast: its two matrix products alone take as long as a
whole fused kernel, and it fuses neither `exp` nor a sum into a product
(docs/benchmarks.md). Keys outside the segment and the window of a block of
queries are not visited.
"""

import ctypes
import functools
import hashlib
import os
import pathlib
import platform
import shlex
import shutil
import subprocess
import tempfile

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np

from backbone.array_types import Array, Float, Int
from backbone.kernels import dispatch

_SOURCES = pathlib.Path(__file__).parent / 'native'
_FLAGS = ('-std=c++17', '-O3', '-march=native', '-shared', '-fPIC')


def attention(
  query: Float[Array, 'B T H K'],
  key: Float[Array, 'B T H K'],
  value: Float[Array, 'B T H V'],
  segment_ids: Int[Array, 'B T'],
  window: int | None,
) -> Float[Array, 'B T H V']:
  """`reference.attention`, computed in float32.

  Raises:
    NotImplementedError: On another platform, or where it cannot be built.
  """
  where = dispatch.platform()
  if where != 'cpu':
    raise NotImplementedError(f"'native_cpu' does not run on {where}")
  if reason := unavailable():
    raise NotImplementedError(f"'native_cpu' cannot be built: {reason}")
  arrays = (x.astype(jnp.float32) for x in (query, key, value))
  window = query.shape[1] if window is None else window
  output = _attend(window, *arrays, segment_ids)
  return output.astype(value.dtype)


@functools.cache
def unavailable() -> str | None:
  """Why it cannot run here; else None, and XLA knows its functions."""
  try:
    if shutil.which(_compiler()[0]) is None:
      return f'no C++ compiler {_compiler()[0]!r}; name yours in CXX'
    library = ctypes.CDLL(str(_built()))
  except (RuntimeError, OSError, ValueError) as error:
    return repr(error)
  for which in ('forward', 'backward'):
    function = getattr(library, f'Attention{which.capitalize()}')
    jax.ffi.register_ffi_target(
      f'backbone_attention_{which}',
      jax.ffi.pycapsule(function),
      platform='cpu',
    )
  return None


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(window, query, key, value, segment_ids):
  return _attend_forward(window, query, key, value, segment_ids)[0]


def _attend_forward(window, query, key, value, segment_ids):
  batch, length, num_heads, _ = query.shape
  inputs = query, key, value, segment_ids.astype(jnp.int32)
  log_total = jax.ShapeDtypeStruct((batch, num_heads, length), jnp.float32)
  call = _call('forward', _like(value), log_total)
  output, log_total = call(*inputs, window=np.int64(window))
  return output, (*inputs, output, log_total)


def _attend_backward(window, residuals, d_output):
  call = _call('backward', *(_like(x) for x in residuals[:3]))
  return *call(*residuals, d_output, window=np.int64(window)), None


_attend.defvjp(_attend_forward, _attend_backward)


def _like(x):
  return jax.ShapeDtypeStruct(x.shape, x.dtype)


def _call(which, *results):
  return jax.ffi.ffi_call(
    f'backbone_attention_{which}', results, vmap_method='sequential'
  )


def _built() -> pathlib.Path:
  """The library; built unless these sources were, by this, for this machine.

  Raises:
    RuntimeError: The compiler fails; its words.
  """
  command = [*_compiler(), *_FLAGS, '-isystem', jax.ffi.include_dir()]
  macros = subprocess.run(
    [*_compiler(), '-march=native', '-dM', '-E', '-x', 'c++', os.devnull],
    capture_output=True,
  )
  digest = hashlib.sha256(macros.stdout)
  digest.update(
    f'{jaxlib.__version__} {platform.platform()} {command}'.encode()
  )
  for path in sorted(_SOURCES.iterdir()):
    digest.update(path.read_bytes())
  cache = os.environ.get('XDG_CACHE_HOME', pathlib.Path.home() / '.cache')
  folder = pathlib.Path(cache) / 'multiomics-jax' / 'native'
  library = folder / f'attention-{digest.hexdigest()[:16]}.so'
  if library.exists():
    return library
  folder.mkdir(parents=True, exist_ok=True)
  # Other processes see a whole library or none.
  with tempfile.TemporaryDirectory(dir=folder) as scratch:
    built = pathlib.Path(scratch) / library.name
    command += [str(_SOURCES / 'attention.cc'), '-o', str(built)]
    compilation = subprocess.run(command, capture_output=True, text=True)
    if compilation.returncode:
      raise RuntimeError(f'{shlex.join(command)}: {compilation.stderr}')
    built.replace(library)
  return library


def _compiler() -> list[str]:
  return shlex.split(os.environ.get('CXX') or 'c++')
