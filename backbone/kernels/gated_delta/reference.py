"""The gated delta rule, one token at a time: the specification."""

import jax
import jax.numpy as jnp

from backbone.array_types import Array, Float, Int


def gated_delta(
  query: Float[Array, 'B T H K'],
  key: Float[Array, 'B T H K'],
  value: Float[Array, 'B T H V'],
  log_decay: Float[Array, 'B T H'],
  beta: Float[Array, 'B T H'],
  segment_ids: Int[Array, 'B T'],
  initial_state: Float[Array, 'B H K V'],
  *,
  reverse: bool = False,
) -> tuple[Float[Array, 'B T H V'], Float[Array, 'B H K V']]:
  """Runs the recurrence from the first token to the last, or in reverse.

    S_t = exp(log_decay_t) S_{t-1} (I - beta_t k_t k_tᵀ) + beta_t v_t k_tᵀ
    o_t = S_t q_t / sqrt(K)

  with S zero before the first token of a segment (Gated DeltaNet,
  arXiv:2412.06464, eq. 10). The state is kept transposed, [K, V]. Computes in
  the widest of the inputs' types and float32.

  Returns:
    The output in the type of `value`, and the state after the last token
    travelled.
  """
  dtype = jnp.promote_types(initial_state.dtype, jnp.float32)
  scale = query.shape[-1] ** -0.5
  continues = segment_ids[:, 1:] == segment_ids[:, :-1]
  start = (0, 1) if reverse else (1, 0)
  continues = jnp.pad(continues, ((0, 0), start), constant_values=True)

  def step(state, inputs):
    q, k, v, log_decay, beta, continues = inputs
    decay = jnp.where(continues[:, None], jnp.exp(log_decay), 0)
    state = decay[..., None, None] * state
    error = v - jnp.einsum('bhk,bhkv->bhv', k, state)
    state += jnp.einsum('bhk,bhv->bhkv', beta[..., None] * k, error)
    return state, scale * jnp.einsum('bhk,bhkv->bhv', q, state)

  inputs = [x.astype(dtype) for x in (query, key, value, log_decay, beta)]
  time_first = [jnp.moveaxis(x, 1, 0) for x in (*inputs, continues)]
  state, output = jax.lax.scan(
    step, initial_state.astype(dtype), time_first, reverse=reverse
  )
  return jnp.moveaxis(output, 0, 1).astype(value.dtype), state
