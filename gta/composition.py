"""Shares of CpG and of G or C around bins: what a ridge knows of a genome."""

import jax.numpy as jnp

from backbone.array_types import Array, Float

# About their means and deviations over bins of 128 bases of mammals (ours).
_CENTERS = {'cpg': (0.01, 0.01), 'gc': (0.42, 0.08)}


def shares_around(
  bases: Float[Array, 'B N 4'], bin_size: int, sizes: tuple[int, ...]
) -> Float[Array, 'B M F']:
  """Of each bin both shares in windows of each size around it, about 0 and 1.

  Windows end where the bases do; no window is smaller than a bin.

  Args:
    bases: One-hot A C G T; zeros for any other.
    bin_size: Bases of a bin; divides their number.
    sizes: Of the windows, in bases.
  """
  is_c, is_g = bases[..., 1], bases[..., 2]
  # Of a dinucleotide, its first base.
  cpg = is_c * jnp.pad(is_g[:, 1:], ((0, 0), (0, 1)))
  found = []
  for what, (center, deviation) in _CENTERS.items():
    values = cpg if what == 'cpg' else is_c + is_g
    share = values.reshape(len(values), -1, bin_size).mean(-1)
    for size in sizes:
      around = _mean_around(share, max(size // bin_size, 1))
      found.append((around - center) / deviation)
  return jnp.stack(found, axis=-1)


def _mean_around(x: Float[Array, 'B M'], size: int) -> Float[Array, 'B M']:
  """Means over `size` bins, of which each is in the middle."""
  number = x.shape[1]
  low = jnp.maximum(jnp.arange(number) - (size - 1) // 2, 0)
  high = jnp.minimum(jnp.arange(number) + size // 2 + 1, number)
  total = jnp.pad(jnp.cumsum(x, axis=1), ((0, 0), (1, 0)))
  return (total[:, high] - total[:, low]) / (high - low)
