"""GTA: a value of a gene from its sequence, said in words, and its text."""

import dataclasses
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from flax import nnx

from backbone.array_types import Array, Batch, Bool, Float, Int, PRNGKey
from backbone.nn.linear import Linear
from backbone.nn.norm import LayerNorm
from gta.alignment import Alignment, AlignmentConfig
from gta.enformer import Head
from gta.language.decoder import Decoder, Past, attend

# What stands between aligned sections and the head: the language model, one
# trained layer of attention in its place, or nothing.
Between = Literal['language', 'attention', 'nothing']
Pooling = Literal['attention', 'flatten']


@dataclasses.dataclass(frozen=True)
class GTAConfig:
  """Settings; none is published.

  Attributes:
    trunk: Makes bins of a batch: has `build(key)` and `width`.
    alignment: From sections to words.
    section_bins: Bins of a section.
    section_bases: Bases of a section.
    before: Bases of a window that lie before the gene.
    between: See `Between`; the last two are controls: a layer of attention
      over the embeddings of the prompt, the sections and the read-outs, and
      nothing, where no prompt is read.
    num_readouts: Learnt tokens behind the sections, whose states the head
      reads beside theirs.
    has_sections: False reads the prompt alone (a control).
    pooling: Of the states: weighted, which says what sections matter, or all
      of them side by side, as Time-LLM has it.
    head_width: Of the layer before the value; 0 is none.
    section_dropout: Share of the sections that a training step does not see.
    reads_prompt: Whether the head reads the states of the prompt, too, beside
      what sections and read-outs have taken from it.
    predicts_bound: Whether the trunk also says how many bases of each bin are
      bound, as those that were trained on tracks of chromatin can.
  """

  trunk: Any
  alignment: AlignmentConfig
  section_bins: int = 8
  section_bases: int = 96
  before: int = 768
  between: Between = 'language'
  num_readouts: int = 1
  has_sections: bool = True
  pooling: Pooling = 'attention'
  head_width: int = 0
  section_dropout: float = 0.0
  reads_prompt: bool = False
  predicts_bound: bool = False

  def __post_init__(self):
    for name, known in (('between', Between), ('pooling', Pooling)):
      if getattr(self, name) not in get_args(known):
        raise ValueError(
          f'{name} {getattr(self, name)!r} is none of {get_args(known)}'
        )
    if not 0 <= self.section_dropout < 1:
      raise ValueError(
        f'section_dropout {self.section_dropout}; it must be in [0, 1)'
      )
    if self.predicts_bound and not self.has_sections:
      raise ValueError('predicts_bound needs sections')
    if not self.has_sections and not self.num_readouts:
      raise ValueError('without sections there must be num_readouts')


class Prediction(NamedTuple):
  """What a gene's value is, and why.

  Attributes:
    value: Standardized.
    section_weights: Of the head's attention; with 'flatten' alike.
    word_weights: Of each prototype for each section; None of a linear aligner.
    bound: Bases of each bin that are bound; None if it is not predicted.
  """

  value: Float[Array, 'B']
  section_weights: Float[Array, 'B S']
  word_weights: Float[Array, 'B H S _'] | None
  bound: Float[Array, 'B M'] | None = None


class GTA(nnx.Module):
  """Everything that is trained; the language model is given to each call."""

  def __init__(
    self,
    config: GTAConfig,
    words: Float[Array, 'V D'],
    num_sections: int,
    *,
    key: PRNGKey,
  ):
    """Draws the weights.

    Args:
      config: Settings.
      words: Input embeddings of the language model.
      num_sections: Of a window.
      key: Of all that is drawn.
    """
    trunk_key, alignment_key, key = jax.random.split(key, 3)
    rngs, width = nnx.Rngs(key), words.shape[1]
    is_read = config.has_sections
    self.trunk = config.trunk.build(trunk_key) if is_read else None
    self.alignment = (
      Alignment(config.alignment, words, key=alignment_key) if is_read else None
    )
    self.bound_head = (
      Head(config.trunk.width, 1, rngs=rngs) if config.predicts_bound else None
    )
    scale = jnp.sqrt(jnp.square(words).mean())
    shape = config.num_readouts, width
    drawn = scale * jax.random.normal(rngs.params(), shape)
    self.readout_table = nnx.Param(drawn)
    self.attention = (
      Mixing(width, rngs=rngs) if config.between == 'attention' else None
    )
    num_states = config.num_readouts + num_sections * is_read
    is_flat = config.pooling == 'flatten'
    self.norm = LayerNorm(width)
    self.pool = None if is_flat else Pool(width, rngs=rngs)
    self.prompt_pool = Pool(width, rngs=rngs) if config.reads_prompt else None
    self.prompt_output = (
      Linear(width, 1, rngs=rngs) if config.reads_prompt else None
    )
    head = config.head_width
    inputs = (num_states, width) if is_flat else width
    self.inner = Linear(inputs, head, rngs=rngs) if head else None
    self.output = Linear(head or inputs, 1, rngs=rngs)
    self.bias = nnx.Param(jnp.zeros(1))
    self.config = config

  def __call__(
    self,
    batch: Batch,
    language: Decoder,
    words: Float[Array, 'V D'],
    key: PRNGKey | None = None,
  ) -> Prediction:
    """Values of the genes of a batch.

    Args:
      batch: As `GeneWindows` makes it.
      language: Frozen.
      words: Its input embeddings.
      key: Of the sections that are left out; None leaves none out.
    """
    x, is_token, word_weights, bound = self._tokens(batch, words, key)
    states, prompt = self._between(x, is_token, batch, language)
    value, weights = self._head(self.norm(states), is_token)
    if self.prompt_pool is not None and prompt is not None:
      pooled, _ = self.prompt_pool(self.norm(prompt), batch['is_prompt'])
      value += self.prompt_output(pooled)[:, 0]
    num_sections = x.shape[1] - self.config.num_readouts
    return Prediction(value, weights[:, :num_sections], word_weights, bound)

  def rollout(
    self, batch: Batch, language: Decoder, words: Float[Array, 'V D']
  ) -> Float[Array, 'B S']:
    """How much of each section reaches the head through the language model.

    Attention rollout (arXiv:2005.00928): layer by layer half of a token is
    itself, the other half what it looks at. What is of the prompt is lost.

    Args:
      batch: As of a call.
      language: Frozen; what `between` must be.
      words: Its input embeddings.
    """
    x, is_token, *_ = self._tokens(batch, words)
    _, past = _read_prompt(batch, language)
    states = language(x, is_token, past)[0].astype(jnp.float32)
    _, reached = self._head(self.norm(states), is_token)
    looks = language.watch(x, is_token, past)[..., -x.shape[1] :]
    for layer in looks[::-1]:
      reached = (reached + jnp.einsum('bt,bts->bs', reached, layer)) / 2
    return reached[:, : x.shape[1] - self.config.num_readouts]

  def _tokens(
    self,
    batch: Batch,
    words: Float[Array, 'V D'],
    key: PRNGKey | None = None,
  ) -> tuple[
    Float[Array, 'B T D'], Bool[Array, 'B T'], Array | None, Array | None
  ]:
    """Sections and read-outs, which are there, words and bound bases."""
    config, rows = self.config, len(batch['segment_ids'])
    readouts = jnp.broadcast_to(
      self.readout_table[...], (rows, *self.readout_table.shape)
    )
    is_readout = jnp.ones(readouts.shape[:2], bool)
    if not config.has_sections:
      return readouts, is_readout, None, None
    bins = self.trunk(batch)
    bound = None if self.bound_head is None else self.bound_head(bins)[..., 0]
    sections, is_inside = self._sections(bins, batch['segment_ids'])
    aligned = self.alignment(sections, self._distance(sections), words)
    if key is not None and config.section_dropout:
      share = 1 - config.section_dropout
      is_inside &= jax.random.bernoulli(key, share, is_inside.shape)
    x = jnp.concatenate([aligned.tokens, readouts], axis=1)
    is_token = jnp.concatenate([is_inside, is_readout], axis=1)
    return x, is_token, aligned.weights, bound

  def _sections(
    self, bins: Float[Array, 'B M C'], segment_ids: Int[Array, 'B _']
  ) -> tuple[Float[Array, 'B S C'], Bool[Array, 'B S']]:
    """Means over bins, and whether any of a section is on the contig."""
    num = self.config.section_bins
    rows, number, width = bins.shape
    sections = bins.reshape(rows, number // num, num, width).mean(2)
    inside = segment_ids.reshape(rows, number // num, -1)
    return sections, (inside > 0).any(-1)

  def _distance(self, sections: Float[Array, 'B S C']) -> Float[Array, 'B S']:
    size = self.config.section_bases
    middle = (jnp.arange(sections.shape[1]) + 0.5) * size - self.config.before
    return jnp.broadcast_to(middle, sections.shape[:2])

  def _between(
    self,
    x: Float[Array, 'B T D'],
    is_token: Bool[Array, 'B T'],
    batch: Batch,
    language: Decoder,
  ) -> tuple[Float[Array, 'B T D'], Float[Array, 'B P D'] | None]:
    """States of sections and read-outs, and of the prompt before them."""
    if self.config.between == 'nothing':
      return x, None
    if self.config.between == 'attention':
      if 'prompt' not in batch:
        return self.attention(x, is_token), None
      whole = jnp.concatenate([_prompt_vectors(batch, language), x], axis=1)
      is_token = jnp.concatenate([batch['is_prompt'], is_token], axis=1)
      states = self.attention(whole, is_token)
      return states[:, -x.shape[1] :], states[:, : -x.shape[1]]
    prompt, past = _read_prompt(batch, language)
    return language(x, is_token, past)[0].astype(jnp.float32), prompt

  def _head(
    self, states: Float[Array, 'B T D'], is_token: Bool[Array, 'B T']
  ) -> tuple[Float[Array, 'B'], Float[Array, 'B T']]:
    if self.pool is None:
      x = states * is_token[..., None]
      weights = is_token / is_token.sum(-1, keepdims=True)
    else:
      x, weights = self.pool(states, is_token)
    if self.inner is not None:
      x = jax.nn.gelu(self.inner(x))
    return (self.output(x) + self.bias[...])[:, 0], weights


class Pool(nnx.Module):
  """A weighted mean of states, the weights from the states themselves."""

  def __init__(self, width: int, *, rngs: nnx.Rngs):
    self.enter = Linear(width, width, rngs=rngs)
    self.weigh = Linear(width, 1, rngs=rngs)

  def __call__(
    self, states: Float[Array, 'B T D'], is_token: Bool[Array, 'B T']
  ) -> tuple[Float[Array, 'B D'], Float[Array, 'B T']]:
    """The mean, and the weights."""
    scores = self.weigh(jnp.tanh(self.enter(states)))[..., 0]
    scores = jnp.where(is_token, scores, jnp.finfo(scores.dtype).min)
    weights = jax.nn.softmax(scores)
    return jnp.einsum('bt,btd->bd', weights, states), weights


def _read_prompt(
  batch: Batch, language: Decoder
) -> tuple[Float[Array, 'B P D'] | None, Past | None]:
  """States and past of the prompt: as `PromptCache` read it, or read now.

  They depend on no trained weight: nothing is kept for a backward pass.
  """
  if 'prompt' not in batch:
    return None, None
  is_prompt = batch['is_prompt']
  if 'prompt_past' not in batch:
    states, past = language(_prompt_vectors(batch, language), is_prompt)
    return states.astype(jnp.float32), past
  keys, values = jnp.moveaxis(batch['prompt_past'], 0, 2)
  return batch['prompt_states'], Past(keys, values, is_prompt)


def _prompt_vectors(batch: Batch, language: Decoder) -> Float[Array, 'B P D']:
  """Given as they are where a gradient of them is asked for."""
  if 'prompt_vectors' in batch:
    return batch['prompt_vectors']
  return language.embed(batch['prompt'])


class Mixing(nnx.Module):
  """One layer of attention, trained: what a language model must beat."""

  def __init__(self, width: int, *, rngs: nnx.Rngs, num_heads: int = 4):
    heads = num_heads, width // num_heads
    self.norm = LayerNorm(width)
    self.query_heads_in = Linear(width, heads, rngs=rngs)
    self.key_heads_in = Linear(width, heads, rngs=rngs)
    self.value_heads_in = Linear(width, heads, rngs=rngs)
    self.heads_out = Linear(heads, width, rngs=rngs)

  def __call__(
    self, x: Float[Array, 'B T D'], is_token: Bool[Array, 'B T']
  ) -> Float[Array, 'B T D']:
    normal = self.norm(x)
    sees = jnp.broadcast_to(
      is_token[:, None], (*is_token.shape, is_token.shape[1])
    )
    mixed = attend(
      self.query_heads_in(normal),
      self.key_heads_in(normal),
      self.value_heads_in(normal),
      sees,
    )
    return x + self.heads_out(mixed)
