"""Distances as Enformer's attention reads them."""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32
from scipy.special import gammaln, xlogy

from backbone.array_types import Array, Float


def relative_shift(
  scores: Float[Array, 'B H T R'],
) -> Float[Array, 'B H T T']:
  """[i, j] = scores[i, j - i + T - 1], of R = 2 T - 1 distances."""
  *lead, length, num_distances = scores.shape
  padded = jnp.pad(scores, [(0, 0)] * (len(lead) + 1) + [(1, 0)])
  turned = padded.reshape(*lead, num_distances + 1, length)[..., 1:, :]
  return turned.reshape(*lead, length, num_distances)[..., :length]


@functools.lru_cache(maxsize=8)
def position_features(
  length: int, num_features: int
) -> Float32[np.ndarray, 'R F']:
  """Of the distances 1 - T to T - 1: three families, and the same by sign.

  Exponentials of half-lives from 8 to T, masks of |d| < 2^k - 1, and densities
  of gamma distributions around means up to T. The last are divided by their
  largest value over the *distances*; a public port, which divides over the
  features instead, is off by up to 1 and ships the right table as a file.
  """
  distance = np.arange(1 - length, length, dtype=np.float64)
  size = np.abs(distance)[:, None]
  number = num_features // 6
  half_lives = 2.0 ** np.linspace(3, np.log2(length), number)
  exponential = np.exp(-np.log(2.0) * size / half_lives)
  central = (2.0 ** np.arange(1, number + 1) - 1 > size).astype(np.float64)
  gamma = _gamma(size, length, number)
  features = np.concatenate([exponential, central, gamma], axis=1)
  signed = np.sign(distance)[:, None] * features
  return np.concatenate([features, signed], axis=1).astype(np.float32)


def _gamma(size: np.ndarray, length: int, number: int) -> np.ndarray:
  mean = np.linspace(length / number, length, number)
  deviation = length / (2 * number)
  concentration = (mean / deviation) ** 2
  rate = mean / deviation**2
  log_density = xlogy(concentration - 1, size) - rate * size
  log_norm = gammaln(concentration) - concentration * np.log(rate)
  density = np.exp(log_density - log_norm) + 1e-8
  return density / density.max(axis=0, keepdims=True)
