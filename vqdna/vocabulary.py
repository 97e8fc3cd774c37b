"""A learnt vocabulary as an artefact: written by stage 1, read frozen after.

A folder with `vocabulary.json`, the settings and a checksum, and
`vocabulary.safetensors`, encoder, decoder and codes.
"""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import tempfile
from typing import Any

import jax
import numpy as np
from flax import nnx
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from backbone.array_types import Array, Batch, Bool, Float, Int, PyTree
from data_pipelines.errors import InputError
from vqdna.codebook import CodebookConfig
from vqdna.finite_scalar import FiniteScalar
from vqdna.network import Autoencoder, NetworkConfig
from vqdna.objective import VocabularyLearning, bases, whole_tokens
from vqdna.quantizers import HierarchicalResidual, Quantiser
from vqdna.words import Tokens, standardised

FORMAT_VERSION = 1
_SETTINGS, _TENSORS = 'vocabulary.json', 'vocabulary.safetensors'
_MEND = (
  'make it again: experiments/vqdna/tokenizer.py leaves one in its workdir'
)


@dataclasses.dataclass(frozen=True)
class Export:
  """Writes the vocabulary of a finished run to `workdir/vocabulary`.

  It stands among the results tables of stage 1, and adds no row.
  """

  def rows(self, context: Any) -> list[dict[str, Any]]:
    """None."""
    out = context.workdir / 'vocabulary'
    write(context.objective, context.model, context.aux, out)
    return []


@dataclasses.dataclass(frozen=True, eq=False)
class Frozen:
  """A vocabulary that is read, not learnt; equal to another by its content.

  Attributes:
    path: Its folder.
  """

  path: str

  def __post_init__(self):
    self._learning  # noqa: B018 (a missing one is said here)

  def __eq__(self, other: object) -> bool:
    return isinstance(other, Frozen) and self.hash == other.hash

  def __hash__(self) -> int:
    return hash(self.hash)

  @functools.cached_property
  def _settings(self) -> dict[str, Any]:
    file = pathlib.Path(self.path) / _SETTINGS
    try:
      settings = json.loads(file.read_text())
    except OSError as error:
      raise InputError(f'{file}: no vocabulary here; {_MEND}') from error
    except ValueError as error:
      raise InputError(f'{file}: not JSON ({error}); {_MEND}') from error
    is_object = isinstance(settings, dict)
    version = settings.get('format_version') if is_object else None
    if version != FORMAT_VERSION:
      raise InputError(
        f'{file}: format {version}, this code reads {FORMAT_VERSION}; {_MEND}'
      )
    return settings

  @functools.cached_property
  def _learning(self) -> VocabularyLearning:
    try:
      if missing := {'sha256', 'has_met_masks'} - self._settings.keys():
        raise KeyError(min(missing))
      network = dict(self._settings['network'])
      network['taps'] = tuple(network['taps'])
      return VocabularyLearning(
        network=NetworkConfig(**network),
        quantiser=_quantiser(self._settings['quantiser']),
      )
    except (KeyError, TypeError, ValueError) as error:
      file = pathlib.Path(self.path) / _SETTINGS
      raise InputError(
        f'{file}: no settings of a vocabulary ({error}); {_MEND}'
      ) from error

  @property
  def network(self) -> NetworkConfig:
    """Of its encoder."""
    return self._learning.network

  @property
  def stride(self) -> int:
    """Bases of a token."""
    return self.network.token_stride

  @property
  def vector_width(self) -> int:
    """Of a token's vector."""
    return self.network.vector_width

  @property
  def sizes(self) -> tuple[int, ...]:
    """Number of codes of each level."""
    return self._learning.quantiser.sizes

  @property
  def has_met_masks(self) -> bool:
    """Whether bases were hidden from the encoder when it learnt."""
    return self._settings['has_met_masks']

  @property
  def hash(self) -> str:
    """Of its codes and weights."""
    return self._settings['sha256']

  def init(self) -> PyTree:
    """Weights and codes, to be kept in `aux`; read on the host.

    Raises:
      InputError: A file is missing or damaged, or of another network.
    """
    state = self._read()
    shapes = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state
    )
    # A constant would become a part of the compiled program.
    return jax.pure_callback(lambda: state, shapes)

  def _read(self) -> PyTree:
    file = pathlib.Path(self.path) / _TENSORS
    try:
      content = file.read_bytes()
      if hashlib.sha256(content).hexdigest() != self.hash:
        raise InputError(f'{file}: damaged, its checksum is wrong; {_MEND}')
      tensors = load_file(file)
    except (OSError, SafetensorError) as error:
      raise InputError(f'{file}: cannot be read ({error}); {_MEND}') from error
    with jax.ensure_compile_time_eval():
      wanted = jax.eval_shape(lambda: state_of(*self._learning.init(_key())))
    shapes = {name: leaf.shape for name, leaf in _named(wanted).items()}
    found = {name: tensor.shape for name, tensor in tensors.items()}
    for name in sorted(shapes.keys() | found.keys()):
      if shapes.get(name) != found.get(name):
        raise InputError(
          f'{file}: {name} is {found.get(name, "absent")} there, '
          f'{shapes.get(name, "absent")} by {_SETTINGS}; {_MEND}'
        )
    return jax.tree.unflatten(
      jax.tree.structure(wanted), [tensors[name] for name in shapes]
    )

  def __call__(
    self,
    state: PyTree,
    batch: Batch,
    is_hidden: Bool[Array, 'B N'] | None = None,
  ) -> Tokens:
    """The tokens of a packed batch, without gradient.

    Args:
      state: What `init` gave.
      is_hidden: Bases that the encoder may not see.
    """
    state = jax.lax.stop_gradient(state)
    quantised = self._learning.quantise(
      nnx.merge(self._graph, state['params']),
      state['codes'],
      batch,
      _key(),
      is_hidden=is_hidden,
    )
    is_base = bases(batch)[1]
    if is_hidden is not None:
      is_base &= ~is_hidden
    is_real = whole_tokens(is_base, self.stride)
    return Tokens(quantised.ids, self.vectors(state, quantised.ids), is_real)

  def vectors(
    self, state: PyTree, ids: tuple[Int[Array, 'B T'], ...]
  ) -> Float[Array, 'B T D']:
    """Mean of the codes of all levels, standardised over the vocabulary."""
    state = jax.lax.stop_gradient(state)
    books = tuple(
      self._learning.quantiser.codes(state['codes'], level)
      for level in range(len(self.sizes))
    )
    chosen = [book[index] for book, index in zip(books, ids, strict=True)]
    return standardised(sum(chosen) / len(chosen), books)

  @functools.cached_property
  def _graph(self) -> nnx.GraphDef:
    model = nnx.eval_shape(lambda: Autoencoder(self.network, key=_key()))
    return nnx.split(model)[0]


def write(
  learning: VocabularyLearning,
  model: Autoencoder,
  codes: PyTree,
  out: pathlib.Path,
) -> None:
  """Writes both files aside, the settings last."""
  out.mkdir(parents=True, exist_ok=True)
  named = _named(state_of(model, codes))
  tensors = {name: np.asarray(leaf) for name, leaf in named.items()}
  with tempfile.TemporaryDirectory(dir=out) as aside:
    file = pathlib.Path(aside) / _TENSORS
    save_file(tensors, file)
    settings = {
      'format_version': FORMAT_VERSION,
      'sha256': hashlib.sha256(file.read_bytes()).hexdigest(),
      'has_met_masks': learning.masking is not None,
      'network': dataclasses.asdict(learning.network),
      'quantiser': {
        'kind': type(learning.quantiser).__name__,
        **dataclasses.asdict(learning.quantiser),
      },
    }
    described = pathlib.Path(aside) / _SETTINGS
    described.write_text(json.dumps(settings, indent=1))
    (out / _SETTINGS).unlink(missing_ok=True)
    os.replace(file, out / _TENSORS)
    os.replace(described, out / _SETTINGS)


def _quantiser(settings: dict[str, Any]) -> Quantiser:
  settings = dict(settings)
  kind = settings.pop('kind')
  if kind == 'FiniteScalar':
    return FiniteScalar(tuple(settings['levels']))
  levels = tuple(CodebookConfig(**level) for level in settings.pop('levels'))
  return HierarchicalResidual(levels, **settings)


def state_of(model: Autoencoder, codes: PyTree) -> PyTree:
  """Weights and codes, as `Frozen.init` gives them."""
  params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
  return {'codes': codes, 'params': params}


def _named(state: PyTree) -> dict[str, Any]:
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): leaf
    for path, leaf in jax.tree.leaves_with_path(state)
  }


def _key() -> jax.Array:
  """For what draws nothing that is kept."""
  return jax.random.key(0)
