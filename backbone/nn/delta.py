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
    keys, values = (num_heads, key_width), (num_heads, value_width)
    self.query = Linear(width, keys, rngs=rngs)
    self.key = Linear(width, keys, rngs=rngs)
    self.value = Linear(width, values, rngs=rngs)
    self.gate_heads = Linear(width, values, rngs=rngs)
    self.heads_out = Linear(values, width, rngs=rngs)
    self.decay = Linear(width, num_heads, rngs=rngs)
    self.beta = Linear(width, num_heads, rngs=rngs)
    size = convolution_size
    self.query_convolution = ShortConvolution(keys, size, rngs=rngs)
    self.key_convolution = ShortConvolution(keys, size, rngs=rngs)
    self.value_convolution = ShortConvolution(values, size, rngs=rngs)
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
    query = self._convolve(self.query_convolution, self.query(x), segment_ids)
    key = self._convolve(self.key_convolution, self.key(x), segment_ids)
    value = self._convolve(self.value_convolution, self.value(x), segment_ids)
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
      partition=sharding.partition(query.shape[:3], 'batch', None, 'heads'),
    )
    return self.heads_out(self.norm(output) * jax.nn.silu(self.gate_heads(x)))

  def _convolve(self, filter_, x, segment_ids):
    if self.convolution == 'symmetric':
      return jax.nn.silu(filter_(x, segment_ids))
    # A head may look only where its direction has been.
    past = filter_(x, segment_ids, side='past')
    future = filter_(x, segment_ids, side='future')
    is_forward = (jnp.arange(x.shape[2]) % 2 == 0)[:, None]
    return jax.nn.silu(jnp.where(is_forward, past, future))
