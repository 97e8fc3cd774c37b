"""What the trainer sees of VQDNA; stage 1, learning the vocabulary."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from backbone.array_types import (
  Array,
  Batch,
  Bool,
  Int,
  Mean,
  PRNGKey,
  PyTree,
  Scalar,
)
from backbone.train.objective import mean_where
from vqdna.masking import SpanMasking
from vqdna.network import NUM_BASES, Autoencoder, NetworkConfig
from vqdna.quantizers import HierarchicalResidual, Quantised, Quantiser


@dataclasses.dataclass(frozen=True, kw_only=True)
class VocabularyLearning:
  """Cross-entropy of the bases, in nats, plus the commitment of the vectors.

  VQDNA (arXiv:2405.10812, as others cite it): L = CE(x, G(ẑ)) + β L_commit with
  β = 0.5; the codes follow the vectors without a gradient. N and padding are
  read as nothing, never a target, and no code follows a token with one.

  Attributes:
    network: Of encoder and decoder.
    quantiser: Between them.
    commitment: β.
    masking: Tokens whose bases are hidden from the encoder, and filled in by
      the decoder: a vocabulary that will be read behind masks must have met
      them (our choice). None hides nothing, as published.
  """

  network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)
  quantiser: Quantiser = dataclasses.field(default_factory=HierarchicalResidual)
  commitment: float | int = 0.5
  masking: SpanMasking | None = None

  def __post_init__(self):
    num_levels, num_taps = len(self.quantiser.sizes), len(self.network.taps)
    if num_levels != num_taps:
      raise ValueError(
        f'{num_levels} levels of codes but {num_taps} taps of the encoder: '
        'give one of each'
      )

  @property
  def vocabulary(self) -> tuple[str, ...]:
    return ('A', 'C', 'G', 'T', 'N')

  def init(self, key: PRNGKey) -> tuple[Autoencoder, PyTree]:
    """New weights, and codes that the first batch will place."""
    model_key, code_key = jax.random.split(key)
    model = Autoencoder(self.network, key=model_key)
    return model, self.quantiser.init(self.network.vector_width, code_key)

  def loss(
    self,
    model: Autoencoder,
    aux: PyTree,
    batch: Batch,
    key: PRNGKey,
    *,
    train: bool,
  ) -> tuple[Scalar, tuple[PyTree, dict[str, Mean]]]:
    mask_key, code_key = jax.random.split(key)
    is_hidden = self._hide(batch, mask_key) if self.masking else None
    quantised = self.quantise(
      model, aux, batch, code_key, is_hidden=is_hidden, train=train
    )
    scores = model.decode(quantised.vectors, batch['segment_ids'])
    sequence, is_base = bases(batch)
    true = jax.nn.one_hot(sequence, NUM_BASES)
    nats = -(jax.nn.log_softmax(scores) * true).sum(-1)
    weight = is_base.astype(jnp.float32)
    reconstruction = (nats * weight).sum() / jnp.maximum(weight.sum(), 1)
    loss = reconstruction + self.commitment * quantised.commitment

    is_right = scores.argmax(-1) == sequence
    is_shown = is_base if is_hidden is None else is_base & ~is_hidden
    metrics = {
      'bits_per_base': mean_where(nats / np.log(2.0), is_base),
      'accuracy': mean_where(is_right, is_shown),
      'commitment': Mean(quantised.commitment, jnp.ones(())),
      **quantised.metrics,
    }
    if is_hidden is not None:
      metrics['hidden_accuracy'] = mean_where(is_right, is_base & is_hidden)
    return loss, (quantised.vocabulary, metrics)

  def _hide(self, batch: Batch, key: PRNGKey) -> Bool[Array, 'B N']:
    stride = self.network.token_stride
    is_hidden = self.masking(batch['segment_ids'][:, ::stride], key)
    return jnp.repeat(is_hidden, stride, axis=1)

  def quantise(
    self,
    model: Autoencoder,
    aux: PyTree,
    batch: Batch,
    key: PRNGKey,
    *,
    is_hidden: Bool[Array, 'B N'] | None = None,
    train: bool = False,
  ) -> Quantised:
    """The tokens of a packed batch."""
    sequence, is_base = bases(batch)
    taps = model.encode(sequence, batch['segment_ids'], is_hidden)
    is_real = whole_tokens(is_base, self.network.token_stride)
    return self.quantiser(taps, aux, is_real, key, train=train)


def bases(batch: Batch) -> tuple[Int[Array, 'B N'], Bool[Array, 'B N']]:
  """The symbols of a batch, and which are bases: neither N nor padding."""
  sequence = batch['sequence'].astype(jnp.int32)
  return sequence, (sequence < NUM_BASES) & (batch['segment_ids'] > 0)


def whole_tokens(
  is_base: Bool[Array, 'B N'], stride: int
) -> Bool[Array, 'B T']:
  """Which tokens are made of bases alone."""
  rows, length = is_base.shape
  return is_base.reshape(rows, length // stride, stride).all(-1)
