"""Stage 2: an encoder learns to fill in hidden words of a frozen vocabulary."""

import dataclasses
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

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
from backbone.model import BackboneConfig
from backbone.train.objective import mean_where, value
from vqdna.code_model import CodeModel, ReaderConfig
from vqdna.masking import SpanMasking
from vqdna.objective import bases
from vqdna.words import Tokens, Words, select

Hiding = Literal['tokens', 'bases']


class Hidden(NamedTuple):
  """A batch with tokens hidden.

  Attributes:
    ids: The true codes of each level.
    shown: What the encoder is shown.
    is_target: Tokens to predict.
    is_masked: Of those, tokens whose vector is the mask's.
  """

  ids: tuple[Int[Array, 'B T'], ...]
  shown: Tokens
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
    reader: What is between words and encoder; None is as published.
    masking: Which tokens are hidden.
    hides: The tokens alone, as published, or their bases already.
    base_weight: Of the cross-entropy of the hidden tokens' bases.
    shown_share: Of hidden tokens, shown as they are; and
    random_share: shown as what stands elsewhere in their row, as far away for
      all of them. BERT has 0.1 and 0.1.
  """

  tokens: Words
  backbone: BackboneConfig
  reader: ReaderConfig | None = None
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
    pool = 1 if self.reader is None else self.reader.pool
    if 3 % (self.tokens.stride * pool):
      raise ValueError(
        f'a unit of {self.tokens.stride} x {pool} bases: it must have one base '
        'or three; set config.objective.reader.pool to 1'
      )
    if self.hides == 'bases' and self.shown_share + self.random_share:
      raise ValueError('of hidden bases nothing is shown: set both shares to 0')

  @property
  def vocabulary(self) -> tuple[str, ...]:
    return ('vqdna', self.tokens.hash)

  def init(self, key: PRNGKey) -> tuple[CodeModel, PyTree]:
    """A model with new weights; the vocabulary is beside the gradient."""
    model = CodeModel(self.tokens, self.backbone, self.reader, key=key)
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
    encoded = model.encode(hidden.shown, hidden.is_masked, batch)
    loss, metrics = jnp.zeros(()), {}
    for level, ids in enumerate(hidden.ids):
      nats, is_right = _surprise(model.scores(encoded, level), ids)
      mean = mean_where(nats, hidden.is_target)
      loss += value(mean)
      metrics[f'level{level + 1}/nats'] = mean
      metrics[f'level{level + 1}/accuracy'] = mean_where(
        is_right, hidden.is_target
      )
    if not self.base_weight:
      return loss, (aux, metrics)
    sequence, _ = bases(batch)
    scores = model.base_scores(encoded)
    nats, is_right = _surprise(scores, sequence.reshape(scores.shape[:-1]))
    mean = mean_where(nats.mean(-1), hidden.is_target)
    metrics['base_nats'] = mean
    metrics['base_accuracy'] = mean_where(is_right.mean(-1), hidden.is_target)
    return loss + self.base_weight * value(mean), (aux, metrics)

  def hide(
    self, state: PyTree, batch: Batch, key: PRNGKey, *, train: bool
  ) -> Hidden:
    """Hides tokens, or their bases; in evaluation nothing is left shown."""
    mask_key, fate_key, turn_key = jax.random.split(key, 3)
    stride = self.tokens.stride
    chosen = self.masking(batch['segment_ids'][:, ::stride], mask_key)
    whole = self.tokens(state, batch)
    is_target = chosen & whole.is_real
    if self.hides == 'bases':
      is_hidden = jnp.repeat(chosen, stride, axis=1)
      shown = self.tokens(state, batch, is_hidden)
      return Hidden(whole.ids, shown, is_target, chosen)
    if not train:
      return Hidden(whole.ids, whole, is_target, chosen)
    fate = jax.random.uniform(fate_key, chosen.shape)
    is_shown = chosen & (fate < self.shown_share)
    is_random = chosen & ~is_shown
    is_random &= fate < self.shown_share + self.random_share
    turn = jax.random.randint(turn_key, (), 1, chosen.shape[1])
    others = jax.tree.map(lambda x: jnp.roll(x, turn, axis=1), whole)
    shown = select(is_random, others, whole)
    is_masked = chosen & ~is_shown & ~is_random
    return Hidden(whole.ids, shown, is_target, is_masked)


def _surprise(
  scores: Float[Array, '*s _'], ids: Int[Array, '*s']
) -> tuple[Float[Array, '*s'], Float[Array, '*s']]:
  """-log p of the true one, and whether it is the likeliest, 0 or 1."""
  scores = scores.astype(jnp.float32)
  logs = jax.nn.log_softmax(scores)
  ids = jnp.minimum(ids, scores.shape[-1] - 1)
  nats = -jnp.take_along_axis(logs, ids[..., None], axis=-1)[..., 0]
  return nats, (scores.argmax(-1) == ids).astype(jnp.float32)
