"""Decay gates and segment borders of a sequence that is cut into chunks."""

import jax.numpy as jnp
from einops import rearrange

from backbone.array_types import Array, Float, Int

# A gate of exactly 0 has a logarithm of -inf, whose differences are NaN;
# exp(-30) is below float32's resolution beside 1, and a sum over a chunk of it
# still resolves the decays behind it.
_SMALLEST_LOG_DECAY = -30.0


def finite_log_decay(log_decay: Float[Array, '*S']) -> Float[Array, '*S']:
  """In float32, with a closed gate (-inf) as good as closed."""
  return jnp.maximum(log_decay.astype(jnp.float32), _SMALLEST_LOG_DECAY)


def segment_masks(
  segment_ids: Int[Array, 'B T'], block_length: int, *, reverse: bool
) -> tuple[
  Int[Array, 'N B C'],
  Float[Array, 'N B C'],
  Float[Array, 'N B C'],
  Float[Array, 'N B 1'],
]:
  """What may see what, within a chunk and across its borders, as 0 and 1.

  Returns:
    run: Number of the token's segment in its row; padding goes with the last.
    is_carried: The state that enters the chunk reaches the token.
    is_kept: The token reaches the state that leaves the chunk.
    is_whole: The entering state reaches the leaving one.
  """
  starts = segment_ids[:, 1:] != segment_ids[:, :-1]
  run = jnp.cumsum(jnp.pad(starts, ((0, 0), (1, 0))), axis=1, dtype=jnp.int32)
  padding = -run.shape[1] % block_length
  run = jnp.pad(run, ((0, 0), (0, padding)), mode='edge')
  run = rearrange(run, 'b (n c) -> n b c', c=block_length)
  first, last = run[..., :1], run[..., -1:]
  if reverse:
    entering, leaving = jnp.concatenate([first[1:], last[-1:]]), first
  else:
    entering, leaving = jnp.concatenate([first[:1], last[:-1]]), last
  masks = run == entering, run == leaving, leaving == entering
  return run, *(mask.astype(jnp.float32) for mask in masks)
