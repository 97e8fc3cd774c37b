"""Correlations along windows that were not trained on, beside CpG and GC."""

import dataclasses
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float, UInt8
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from backbone.downstream import metrics
from backbone.train.evaluate import Context
from backbone.train.state import split_model, to_device
from data_pipelines.endless import Batch
from data_pipelines.tracks.borzoi import TrackWindows
from data_pipelines.tracks.species import Species

_RESAMPLES = 1_000
_C, _G = 1, 2


@dataclasses.dataclass(frozen=True)
class HeldOutTracks:
  """Mean over tracks of the correlation over bins, of log(1 + coverage).

  Attributes:
    split: Whose windows; settings should not have been chosen on them.
    sizes: Bases around a bin, of which the ridge counts CpG and G or C.
    penalty: Of the ridge.
  """

  split: str = 'validation'
  sizes: tuple[int, ...] = (128, 512, 2_048, 8_192, 32_768)
  penalty: float = 1.0

  def rows(self, context: Context) -> list[dict[str, Any]]:
    """Of each genome and assay: trained, and the ridge.

    New weights predict the mean of a track, which has no correlation.
    """
    data: Species = context.data
    predicted = _predict(context, self.split)
    rows = []
    for genome, windows in data.genomes.items():
      _, target = windows.windows(self.split)
      of_genome = {
        'trained': predicted[genome],
        'ridge': np.expm1(self._ridge(windows)),
      }
      for assay in np.unique(windows.assay_of).tolist():
        chosen = windows.assay_of == assay
        for column, values in of_genome.items():
          score = _score(target[..., chosen], values[..., chosen])
          rows.append(
            {
              'table': 'held_out_tracks',
              'task': f'{genome}, {assay}',
              'split': self.split,
              'metric': 'pearson',
              'column': column,
              'seed': context.seed,
              **dict(zip(('value', 'low', 'high'), score, strict=True)),
            }
          )
    return rows

  def _ridge(self, data: TrackWindows) -> Float[np.ndarray, 'w m t']:
    """Of log(1 + coverage), fitted on train."""
    sequences, target = data.windows('train')
    features = self._composition(sequences, data)
    scaler = StandardScaler().fit(features)
    model = Ridge(alpha=self.penalty)
    model.fit(
      scaler.transform(features), np.log1p(target).reshape(len(features), -1)
    )
    sequences, target = data.windows(self.split)
    found = model.predict(scaler.transform(self._composition(sequences, data)))
    return np.maximum(found, 0).reshape(target.shape)

  def _composition(
    self, sequences: UInt8[np.ndarray, 'w n'], data: TrackWindows
  ) -> Float[np.ndarray, 'b f']:
    """Of every bin in turn: shares of CpG and of G or C at each size."""
    is_c, is_g = sequences == _C, sequences == _G
    is_cpg = np.zeros(sequences.shape, bool)
    is_cpg[:, :-1] = is_c[:, :-1] & is_g[:, 1:]
    width, number = data.sizes['pool_width'], data.sizes['target_length']
    first = (sequences.shape[1] - number * width) // 2
    middle = first + width // 2 + np.arange(number) * width
    found = []
    for what in (is_cpg, is_c | is_g):
      total = np.pad(np.cumsum(what, axis=1, dtype=np.int64), ((0, 0), (1, 0)))
      for size in self.sizes:
        low = np.maximum(middle - size // 2, 0)
        high = np.minimum(middle + size // 2, sequences.shape[1])
        found.append((total[:, high] - total[:, low]) / (high - low))
    return np.stack(found, axis=-1).reshape(-1, len(found))


def _predict(
  context: Context, split: str
) -> dict[str, Float[np.ndarray, 'w m t']]:
  """Along the windows of each genome its tracks, the mean of both strands."""
  graph, params = split_model(context.model)
  predict = jax.jit(
    lambda params, batch: context.objective.predict(
      nnx.merge(graph, params), batch
    )
  )
  data: Species = context.data

  def along(batches: list[Batch]) -> Float[np.ndarray, 'w m t']:
    made = []
    for batch in batches:
      is_real = batch['weight'][:, 0] > 0
      values = predict(params, to_device(batch, context.mesh))
      made.append(np.asarray(values)[is_real])
    return np.concatenate(made)

  with jax.set_mesh(context.mesh):
    forward = dict(data.evaluation(split))
    reverse = dict(data.evaluation(split, is_reverse=True))
    found = {}
    for genome, windows in data.genomes.items():
      place = data.tracks[genome]
      other = along(reverse[genome])[:, ::-1, place][..., windows.opposite]
      found[genome] = (along(forward[genome])[..., place] + other) / 2
  return found


def _score(
  target: Float[np.ndarray, 'w m t'], predicted: Float[np.ndarray, 'w m t']
) -> tuple[float, float, float]:
  """The mean over tracks, and its interval over windows (95 %)."""
  x, y = np.log1p(target).astype(float), np.log1p(predicted).astype(float)
  number, num_bins, num_tracks = x.shape
  times = metrics.draws(number, _RESAMPLES, seed=0)
  window = np.repeat(np.arange(number), num_bins)
  mean = np.mean(
    [
      metrics.resampled(
        'pearson', x[..., track].ravel(), y[..., track].ravel(), window, times
      )
      for track in range(num_tracks)
    ],
    axis=0,
  )
  low, high = np.quantile(mean[1:], (0.025, 0.975))
  return float(mean[0]), float(low), float(high)
