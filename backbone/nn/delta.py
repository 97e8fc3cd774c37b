"""Bidirectional gated DeltaNet layer: heads split by direction."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from backbone import sharding
from backbone.array_types import Array, Float, Int
from backbone.kernels.gated_delta.api import gated_delta
from backbone.nn.convolution import ShortConvolution
from backbone.nn.linear import Linear
from backbone.nn.norm import RMSNorm, l2_normalize


class GatedDelta(nnx.Module):
  """Gated DeltaNet (arXiv:2412.06464), even heads forward, odd in reverse.

  With H K = 0.75 D and H V = 1.5 D: 6 D² weights. Initial decay and step sizes
  follow fla-org/flash-linear-attention: A uniform in (0, 16), dt log-uniform
  in [1e-3, 1e-1].
  """

  def __init__(
    self,
    width: int,
    num_heads: int,
    key_width: int,
    value_width: int,
    *,
    convolution: str,
    convolution_size: int,
    allow_negative_eigenvalues: bool,
    implementation: str | None,
    rngs: nnx.Rngs,
  ):
    # One product for all of a head: query, key, value, gate.
    joint = (num_heads, 2 * key_width + 2 * value_width)
    self.heads_in = Linear(width, joint, rngs=rngs)
    self.heads_out = Linear((num_heads, value_width), width, rngs=rngs)
    self.decay = Linear(width, num_heads, rngs=rngs)
    self.beta = Linear(width, num_heads, rngs=rngs)
    self.heads_convolution = ShortConvolution(
      (num_heads, 2 * key_width + value_width), convolution_size, rngs=rngs
    )
    rate = jax.random.uniform(
      rngs.params(), (num_heads,), minval=1e-3, maxval=16
    )
    self.decay_log_rate = nnx.Param(jnp.log(rate))
    low, high = np.log(1e-3), np.log(1e-1)
    step = jax.random.uniform(
      rngs.params(), (num_heads,), minval=low, maxval=high
    )
    # Inverse of softplus, so that the initial step is dt itself.
    self.decay_bias = nnx.Param(jnp.log(jnp.expm1(jnp.exp(step))))
    self.norm = RMSNorm(value_width)
    self.splits = (key_width, 2 * key_width, 2 * key_width + value_width)
    self.convolution = convolution
    self.beta_range = 2.0 if allow_negative_eigenvalues else 1.0
    self.implementation = implementation

  def __call__(
    self,
    x: Float[Array, 'B T D'],
    segment_ids: Int[Array, 'B T'],
    positions: Int[Array, 'B T'],
  ) -> Float[Array, 'B T D']:
    del positions
    mixed, gate = jnp.split(self.heads_in(x), self.splits[2:], axis=-1)
    mixed = self._convolve(mixed, segment_ids)
    query, key, value = jnp.split(mixed, self.splits[:2], axis=-1)
    # The decay is an exponent of an exponent: float32 whatever x is.
    step = self.decay(x).astype(jnp.float32) + self.decay_bias[...]
    log_decay = -jnp.exp(self.decay_log_rate[...]) * jax.nn.softplus(step)
    beta = jax.nn.sigmoid(self.beta(x).astype(jnp.float32)) * self.beta_range
    output, _ = gated_delta(
      l2_normalize(query),
      l2_normalize(key),
      value,
      log_decay,
      beta,
      segment_ids=segment_ids,
      direction='split',
      implementation=self.implementation,
      partition=sharding.partition(query.shape[:3], 'batch', 'length', 'heads'),
    )
    return self.heads_out(self.norm(output) * jax.nn.silu(gate))

  def _convolve(
    self, x: Float[Array, 'B T H X'], segment_ids: Int[Array, 'B T']
  ) -> Float[Array, 'B T H X']:
    if self.convolution == 'symmetric':
      return jax.nn.silu(self.heads_convolution(x, segment_ids))
    # A head may look only where its direction has been.
    past = self.heads_convolution(x, segment_ids, side='past')
    future = self.heads_convolution(x, segment_ids, side='future')
    is_forward = (jnp.arange(x.shape[2]) % 2 == 0)[:, None]
    return jax.nn.silu(jnp.where(is_forward, past, future))
