"""The picture and the page of clades in the words of a vocabulary."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from matplotlib.figure import Figure
from sklearn.manifold import TSNE

from data_pipelines.tasks.lineages import Lineages
from vqdna.pictures import INK, MUTED

_COLOURS = ('#2457c5', '#d9822b', '#3a8f5c', '#c23b4b', '#8a4fbf', '#5b7083')


def picture(
  clade_of: Shaped[np.ndarray, 'e'],
  distances: Mapping[str, Float[np.ndarray, 'e e']],
) -> Figure:
  """A panel per embedding, t-SNE of the distances that the numbers are of."""
  figure = Figure(figsize=(3.1 * len(distances), 3.4), layout='constrained')
  panels = np.atleast_1d(figure.subplots(1, len(distances)))
  clades = np.unique(clade_of)
  for axes, (name, distance) in zip(panels, distances.items(), strict=True):
    distance = distance.copy()
    np.fill_diagonal(distance, 0)
    perplexity = min(30, (len(distance) - 1) / 3)
    places = TSNE(
      metric='precomputed', init='random', perplexity=perplexity, random_state=0
    ).fit_transform(distance)
    for clade, colour in zip(clades, itertools.cycle(_COLOURS), strict=False):
      here = places[clade_of == clade]
      axes.scatter(*here.T, s=9, color=colour, lw=0, alpha=0.8, label=clade)
    axes.set(xticks=[], yticks=[])
    axes.set_title(name, loc='left', fontsize=10, color=INK)
    for side in axes.spines.values():
      side.set_color('#e5e7eb')
  panels[-1].legend(
    frameon=False,
    fontsize=8,
    labelcolor=MUTED,
    loc='upper left',
    bbox_to_anchor=(1, 1),
    markerscale=2,
  )
  return figure


def text(
  found: Lineages,
  rows: Sequence[Mapping[str, Any]],
  vocabulary: str,
  neighbours: int,
) -> str:
  """The table in Markdown.

  Args:
    found: The genomes.
    rows: An embedding each, as `vqdna.lineages.evaluate` gives them.
    vocabulary: Its hash.
    neighbours: How many vote.
  """
  lines = [
    '# Clades in the words of a vocabulary',
    '',
    f'{len(found.genomes)} distinct genomes of '
    f'{len(np.unique(found.clades))} clades ({"; ".join(found.notes)}). '
    f'Vocabulary {vocabulary[:16]}. Embeddings are frequencies of codes or of '
    'k-mers, columns brought to one scale, distances 1 - cosine. Accuracy: the '
    f'{neighbours} nearest genomes that were collected on another day and in '
    'another country vote; 95 % bootstrap interval over genomes. '
    '`commonest clade` is that of all that may vote. The silhouette is over '
    'all pairs, those of one outbreak among them.',
    '',
    '![clades](lineages.png)',
    '',
    '| embedding | accuracy of neighbours | silhouette |',
    '| --- | --- | --- |',
  ]
  for row in rows:
    silhouette = row.get('silhouette')
    lines.append(
      f'| {row["embedding"]} | {row["accuracy"]:.3f} '
      f'[{row["low"]:.3f}, {row["high"]:.3f}] | '
      f'{"-" if silhouette is None else f"{silhouette:.3f}"} |'
    )
  return '\n'.join(lines) + '\n'
