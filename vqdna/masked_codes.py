"""Stage 2: an encoder learns to fill in hidden words of a frozen vocabulary."""

import dataclasses
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from flax import nnx

from backbone.array_types import (
  Array,
  Batch,
  Bool,
  Float,
  Int,
  Mean,
  PRNGKey,
  PyTree,
  Scalar,
)
from backbone.model import Backbone, BackboneConfig
from backbone.nn.linear import Linear
from backbone.train.objective import mean_where, value
from vqdna.masking import SpanMasking
from vqdna.network import NUM_BASES
from vqdna.objective import bases
from vqdna.vocabulary import Frozen

Hiding = Literal['tokens', 'bases']


class CodeModel(nnx.Module):
  """An encoder of token vectors, and a softmax for the codes of each level."""

  def __init__(self, tokens: Frozen, backbone: BackboneConfig, *, key: PRNGKey):
    rngs, width = nnx.Rngs(key), backbone.width
    stride = tokens.network.token_stride
    self.embed = Linear(tokens.network.vector_width, width, rngs=rngs)
    self.mask = nnx.Param(jax.random.normal(rngs.params(), (width,)) * 0.02)
    self.backbone = Backbone(backbone, key=rngs.params())
    self.heads = nnx.List(
      [Linear(width, size, rngs=rngs) for size in tokens.sizes]
    )
    self.bases = Linear(width, (stride, NUM_BASES), rngs=rngs)
    self.stride = stride

  def encode(
    self,
    vectors: Float[Array, 'B T _'],
    is_hidden: Bool[Array, 'B T'] | None,
    batch: Batch,
  ) -> Float[Array, 'B T D']:
    """Vectors of tokens in their context; of hidden ones only that they are."""
    x = self.embed(vectors)
    if is_hidden is not None:
      mask = self.mask[...].astype(x.dtype)
      x = jnp.where(is_hidden[..., None], mask, x)
    segment_ids = batch['segment_ids'][:, :: self.stride]
    positions = batch['positions'][:, :: self.stride] // self.stride
    return self.backbone(x, segment_ids, positions)


class Hidden(NamedTuple):
  """A batch with tokens hidden.

  Attributes:
    ids: The true codes of each level.
    vectors: Of what the encoder is shown.
    is_target: Tokens to predict.
    is_masked: Of those, tokens whose vector is the mask's.
  """

  ids: tuple[Int[Array, 'B T'], ...]
  vectors: Float[Array, 'B T _']
  is_target: Bool[Array, 'B T']
  is_masked: Bool[Array, 'B T']


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskedCodes:
  """Cross-entropy of the codes of hidden tokens, summed over the levels.

  Published is that 25 % of the tokens are hidden at random (VQDNA,
  arXiv:2405.10812, as others cite it); the heads are ours. Codes beside a
  hidden token were made of its bases too, so that it can nearly be copied from
  them: `hides='bases'` hides the bases before they are tokenized.

  Attributes:
    tokens: The vocabulary.
    backbone: The encoder to train.
    masking: Which tokens are hidden.
    hides: The tokens alone, as published, or their bases already.
    base_weight: Of the cross-entropy of the hidden tokens' bases.
    shown_share: Of hidden tokens, shown as they are; and
    random_share: shown as what stands elsewhere in their row, as far away for
      all of them. BERT has 0.1 and 0.1.
  """

  tokens: Frozen
  backbone: BackboneConfig
  masking: SpanMasking = dataclasses.field(default_factory=SpanMasking)
  hides: Hiding = 'tokens'
  base_weight: float | int = 0.0
  shown_share: float | int = 0.0
  random_share: float | int = 0.0

  def __post_init__(self):
    if self.hides not in get_args(Hiding):
      raise ValueError(f'hides {self.hides!r} is none of {get_args(Hiding)}')
    if not 0 <= self.shown_share + self.random_share <= 1:
      raise ValueError('shown_share + random_share must be from 0 to 1')
    if self.hides == 'bases' and not self.tokens.has_met_masks:
      raise ValueError(
        "hides='bases' needs a vocabulary whose encoder has met hidden bases: "
        'learn it with the arm masked of experiments/vqdna/tokenizer.py'
      )
    if self.hides == 'bases' and self.shown_share + self.random_share:
      raise ValueError('of hidden bases nothing is shown: set both shares to 0')

  @property
  def vocabulary(self) -> tuple[str, ...]:
    return ('vqdna', self.tokens.hash)

  def init(self, key: PRNGKey) -> tuple[CodeModel, PyTree]:
    """A model with new weights; the vocabulary is beside the gradient."""
    model = CodeModel(self.tokens, self.backbone, key=key)
    return model, self.tokens.init()

  def loss(
    self,
    model: CodeModel,
    aux: PyTree,
    batch: Batch,
    key: PRNGKey,
    *,
    train: bool,
  ) -> tuple[Scalar, tuple[PyTree, dict[str, Mean]]]:
    hidden = self.hide(aux, batch, key, train=train)
    encoded = model.encode(hidden.vectors, hidden.is_masked, batch)
    loss, metrics = jnp.zeros(()), {}
    for number, (head, ids) in enumerate(
      zip(model.heads, hidden.ids, strict=True), 1
    ):
      nats, is_right = _surprise(head(encoded), ids)
      mean = mean_where(nats, hidden.is_target)
      loss += value(mean)
      metrics[f'level{number}/nats'] = mean
      metrics[f'level{number}/accuracy'] = mean_where(
        is_right, hidden.is_target
      )
    if not self.base_weight:
      return loss, (aux, metrics)
    sequence, _ = bases(batch)
    rows, length = sequence.shape
    shape = rows, length // model.stride, model.stride
    nats, is_right = _surprise(model.bases(encoded), sequence.reshape(shape))
    mean = mean_where(nats.mean(-1), hidden.is_target)
    metrics['base_nats'] = mean
    metrics['base_accuracy'] = mean_where(is_right.mean(-1), hidden.is_target)
    return loss + self.base_weight * value(mean), (aux, metrics)

  def hide(
    self, state: PyTree, batch: Batch, key: PRNGKey, *, train: bool
  ) -> Hidden:
    """Hides tokens, or their bases; in evaluation nothing is left shown."""
    mask_key, fate_key, turn_key = jax.random.split(key, 3)
    stride = self.tokens.network.token_stride
    chosen = self.masking(batch['segment_ids'][:, ::stride], mask_key)
    whole = self.tokens(state, batch)
    is_target = chosen & whole.is_real
    if self.hides == 'bases':
      is_hidden = jnp.repeat(chosen, stride, axis=1)
      vectors = self.tokens(state, batch, is_hidden).vectors
      return Hidden(whole.ids, vectors, is_target, chosen)
    if not train:
      return Hidden(whole.ids, whole.vectors, is_target, chosen)
    fate = jax.random.uniform(fate_key, chosen.shape)
    is_shown = chosen & (fate < self.shown_share)
    is_random = chosen & ~is_shown
    is_random &= fate < self.shown_share + self.random_share
    turn = jax.random.randint(turn_key, (), 1, chosen.shape[1])
    others = jnp.roll(whole.vectors, turn, axis=1)
    vectors = jnp.where(is_random[..., None], others, whole.vectors)
    is_masked = chosen & ~is_shown & ~is_random
    return Hidden(whole.ids, vectors, is_target, is_masked)


def _surprise(
  scores: Float[Array, '*s _'], ids: Int[Array, '*s']
) -> tuple[Float[Array, '*s'], Float[Array, '*s']]:
  """-log p of the true one, and whether it is the likeliest, 0 or 1."""
  scores = scores.astype(jnp.float32)
  logs = jax.nn.log_softmax(scores)
  ids = jnp.minimum(ids, scores.shape[-1] - 1)
  nats = -jnp.take_along_axis(logs, ids[..., None], axis=-1)[..., 0]
  return nats, (scores.argmax(-1) == ids).astype(jnp.float32)
