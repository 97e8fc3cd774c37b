"""What a protein language model says of each residue: targets to distil.

Residue j of a protein stands at codon j: one vector per unit of three bases. A
stop has none, nor has DNA that is not known to be read.
"""

import dataclasses
import functools
import pathlib
from typing import Literal, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import nnx

from backbone.array_types import Array, Batch, Bool, Float, Mean, PyTree
from data_pipelines.errors import InputError
from data_pipelines.features import KEY, FeatureCache
from lifecode.teacher import weights
from lifecode.teacher.esm2 import ESM2, ESM2Config
from lifecode.teacher.proteins import has_residue, pack


@runtime_checkable
class Teacher(Protocol):
  """What a distilling objective knows of its teacher.

  Attributes:
    width: W, of a vector.
    label: What it is, for tables and reports.
  """

  width: int
  label: str

  def init(self) -> PyTree:
    """Frozen parameters, to be kept in `aux`; () if there are none."""

  def features(self, params: PyTree, batch: Batch) -> Float[Array, 'B T W']:
    """One vector per unit, without gradient; zeros where it is not taught."""

  def is_taught(self, batch: Batch) -> Bool[Array, 'B T']:
    """Which units have a vector."""


def untaught_residues(teacher: Teacher, batch: Batch) -> Mean:
  """The share of residues that have no target, for an objective's metrics."""
  is_residue = has_residue(batch)
  is_untaught = is_residue & ~teacher.is_taught(batch)
  return Mean(
    jnp.sum(is_untaught, dtype=jnp.float32),
    jnp.sum(is_residue, dtype=jnp.float32),
  )


@dataclasses.dataclass(frozen=True)
class Online:
  """Runs ESM-2 on the proteins of the batch.

  Each segment with residues is a protein, as it was cropped. Those of more than
  1,022 residues have no target, nor those beyond `max_proteins` in a row.

  Attributes:
    weights: Folder with config.json and weights.
    max_proteins: At most so many in a row; each takes two tokens.
    layer: 'last' (normalised), or a number from 0, the embedding, on.
    dtype: Of activations.
    implementation: Of attention; None: the platform's best.
  """

  weights: str
  max_proteins: int = 32
  layer: int | Literal['last'] = 'last'
  dtype: str = 'float32'
  implementation: str | None = None

  def __post_init__(self):
    if self.max_proteins < 1:
      raise InputError(f'max_proteins={self.max_proteins}: give 1 or more')
    num_layers = self._config.num_layers
    if self.layer != 'last' and self.layer not in range(num_layers + 1):
      raise InputError(
        f"layer={self.layer!r}: {self.weights} has 'last' and 0 to {num_layers}"
      )

  @functools.cached_property
  def _config(self) -> ESM2Config:
    return weights.read_config(
      pathlib.Path(self.weights),
      dtype=self.dtype,
      implementation=self.implementation,
    )

  @property
  def width(self) -> int:
    """W, that of the encoder."""
    return self._config.width

  @functools.cached_property
  def label(self) -> str:
    """Its name and number of parameters."""
    return weights.read_label(pathlib.Path(self.weights))

  def init(self) -> PyTree:
    """The weights; read on the host, also where this is traced."""
    with jax.ensure_compile_time_eval():
      model = weights.load(self.weights)
      params = jax.device_get(nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    shapes = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params
    )
    # A constant would become a part of the compiled program, of at most 2 GB.
    return jax.pure_callback(lambda: params, shapes)

  def features(self, params: PyTree, batch: Batch) -> Float[Array, 'B T W']:
    """See `Teacher`; in `dtype`."""
    rows = pack(batch, self.max_proteins)
    graph = nnx.split(
      nnx.eval_shape(lambda: ESM2(self._config, key=jax.random.key(0)))
    )[0]
    # Nothing else here has a gradient, and so none is ever computed.
    model = nnx.merge(graph, jax.lax.stop_gradient(params))
    inputs = (rows.tokens, rows.segment_ids, rows.positions)
    if self.layer == 'last':
      return rows.to_units(model.encode(*inputs))
    return rows.to_units(model.hidden_states(*inputs)[self.layer])

  def is_taught(self, batch: Batch) -> Bool[Array, 'B T']:
    """See `Teacher`."""
    return pack(batch, self.max_proteins).is_packed


@dataclasses.dataclass(frozen=True)
class Cached:
  """Reads what lifecode.teacher.cache wrote, from the batch.

  The vectors are those of the whole protein, of which a crop shows a part.

  Attributes:
    path: The cache; `features` of the data names the same one.
  """

  path: str

  @functools.cached_property
  def _cache(self) -> FeatureCache:
    return FeatureCache(pathlib.Path(self.path))

  def __post_init__(self):
    self._cache.width  # noqa: B018 (a missing cache is said here)

  @property
  def width(self) -> int:
    """W, as the cache's manifest has it."""
    return self._cache.width

  @property
  def label(self) -> str:
    """The label of the model that was run."""
    return self._cache.label

  def init(self) -> tuple:
    """No parameters."""
    return ()

  def features(self, params: PyTree, batch: Batch) -> Float[Array, 'B T W']:
    """See `Teacher`; float32."""
    del params
    found = self._read(batch).astype(jnp.float32)
    return jnp.where(has_residue(batch)[..., None], found, 0)

  def is_taught(self, batch: Batch) -> Bool[Array, 'B T']:
    """See `Teacher`: a unit that was left out is zero in the cache."""
    return has_residue(batch) & jnp.any(self._read(batch) != 0, axis=-1)

  def _read(self, batch: Batch) -> Float[Array, 'B T W']:
    if KEY not in batch:
      raise InputError(
        f'the batches hold no features of the teacher in {self.path}; give the '
        'data source the same path as features'
      )
    if batch[KEY].shape[-1] != self.width:
      raise InputError(
        f'the batches hold features of width {batch[KEY].shape[-1]}, those in '
        f'{self.path} have {self.width}; give both the same path'
      )
    return batch[KEY]
