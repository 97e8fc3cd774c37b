"""Language models as GTA has them: read once, never trained."""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from backbone.array_types import PyTree
from backbone.train.state import split_model
from data_pipelines.errors import InputError
from gta.language import llama2c, weights
from gta.language.decoder import Decoder
from gta.language.llama import SIZES, Llama


@dataclasses.dataclass(frozen=True)
class Frozen:
  """A language model whose weights stay as they are.

  Attributes:
    weights: A folder of Hugging Face's layout, a file of llama2.c, or one of
      the names of `llama.SIZES` for random weights of that size.
    is_random: Draws all weights but the embeddings anew: the control that
      says whether what the model has learnt is of any use.
    num_layers: The first of them alone; None is all.
    dtype: Of activations; the weights of a size that is drawn, too.
    seed: Of random weights.
  """

  weights: str
  is_random: bool = False
  num_layers: int | None = None
  dtype: str = 'float32'
  seed: int = 0

  def __post_init__(self):
    is_there = self.weights and pathlib.Path(self.weights).exists()
    if self.weights not in SIZES and not is_there:
      raise InputError(
        f'{self.weights!r}: no folder of weights, no file of llama2.c, and '
        f'none of {", ".join(SIZES)}'
      )

  def init(self) -> PyTree:
    """The frozen parameters, to be kept in `aux`."""
    dtype = self.dtype if self.weights in SIZES else None
    given = jax.tree.map(
      lambda x: jnp.asarray(x, dtype), split_model(self._read())[1]
    )
    if not self.is_random:
      return given
    drawn = split_model(self._draw(self._graph[1]))[1]
    # Other words would be another input, not another model.
    kept = {name: given[name] for name in given if name.endswith('table')}
    return {**drawn, **kept}

  def merge(self, params: PyTree) -> Decoder:
    """The model of parameters that `init` made."""
    return nnx.merge(self._graph[0], params)

  @functools.cached_property
  def _graph(self):
    """The static half, and the module's configuration."""
    model = nnx.eval_shape(self._read)
    return split_model(model)[0], model.config

  def _read(self) -> nnx.Module:
    if self.weights in SIZES:
      config = dataclasses.replace(SIZES[self.weights], dtype=self.dtype)
      if self.num_layers:
        config = dataclasses.replace(config, num_layers=self.num_layers)
      return self._draw(config)
    path = pathlib.Path(self.weights)
    if path.is_file():
      return llama2c.load(path, num_layers=self.num_layers, dtype=self.dtype)
    return weights.load(path, num_layers=self.num_layers, dtype=self.dtype)

  def _draw(self, config) -> nnx.Module:
    make = Llama if hasattr(config, 'num_groups') else weights.GPT2
    return make(config, key=jax.random.key(self.seed))


@dataclasses.dataclass(frozen=True)
class Llama2CTokenizer:
  """Pieces of llama2.c.

  Attributes:
    path: Such as tok512.bin.
  """

  path: str

  @functools.cached_property
  def _vocabulary(self) -> llama2c.Vocabulary:
    return llama2c.Vocabulary(self.path)

  def encode(self, text: str) -> list[int]:
    """Tokens, the start before them."""
    return self._vocabulary.encode(text)

  def decode(self, tokens: Sequence[int]) -> str:
    """The text of tokens."""
    return self._vocabulary.decode(tokens)


@dataclasses.dataclass(frozen=True)
class HuggingFaceTokenizer:
  """A tokenizer.json, read by the `tokenizers` library (extra `parity`).

  Attributes:
    path: The file.
  """

  path: str

  @functools.cached_property
  def _tokenizer(self):
    try:
      import tokenizers
    except ImportError as error:
      raise InputError(
        f'{self.path}: needs the package tokenizers (pip install tokenizers)'
      ) from error
    try:
      return tokenizers.Tokenizer.from_file(self.path)
    except Exception as error:
      raise InputError(f'{self.path}: no tokenizer ({error})') from error

  def encode(self, text: str) -> list[int]:
    """Tokens, with those that the file puts around a text."""
    return self._tokenizer.encode(text).ids

  def decode(self, tokens: Sequence[int]) -> str:
    """The text of tokens."""
    return self._tokenizer.decode(list(tokens))
