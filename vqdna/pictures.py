"""Pictures of a vocabulary: how even, how far, and what its codes stand at."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

INK, MUTED, GRID = '#1f2430', '#6b7280', '#e5e7eb'
LEVELS = ('#2457c5', '#d9822b')
# As sequence logos are usually coloured.
BASES = {'A': '#3a8f5c', 'C': '#2457c5', 'G': '#d9822b', 'T': '#c23b4b'}
NUM_LOGOS = 16


def write(
  contexts: Sequence[Int[np.ndarray, '_ offset 4']],
  told: Sequence[Float[np.ndarray, 'offset']],
  codes: Sequence[Float[np.ndarray, '_ _']],
  folder: pathlib.Path,
) -> None:
  """Writes usage.png, and codes_N.png and logos_N.png of every level N.

  Args:
    contexts: How often each code stood at each base, by offset; that of the
      token's first base is in the middle.
    told: Bits that a code and a base share, by offset.
    codes: Their vectors.
    folder: Made if it is not there.
  """
  folder.mkdir(parents=True, exist_ok=True)
  _save(_usage(contexts, told), folder / 'usage.png')
  for number, (counted, vectors) in enumerate(
    zip(contexts, codes, strict=True), 1
  ):
    _save(_map(counted, vectors, number), folder / f'codes_{number}.png')
    _save(_logos(counted, number), folder / f'logos_{number}.png')


def _save(figure: Figure, path: pathlib.Path) -> None:
  figure.savefig(path, dpi=150)


def _usage(
  contexts: Sequence[Int[np.ndarray, '_ offset 4']],
  told: Sequence[Float[np.ndarray, 'offset']],
) -> Figure:
  """How often the codes occur, by rank; what they tell, by distance."""
  figure = Figure(figsize=(9, 3.2), layout='constrained')
  left, right = figure.subplots(1, 2)
  reach = contexts[0].shape[1] // 2
  for number, (counted, bits, colour) in enumerate(
    zip(contexts, told, LEVELS, strict=False), 1
  ):
    share = np.sort(_counts(counted))[::-1] / max(_counts(counted).sum(), 1)
    label = f'level {number}, {share.size:,} codes'
    rank = np.arange(1, share.size + 1) / share.size
    left.plot(rank, share * share.size, color=colour, label=label)
    offsets = np.arange(-reach, reach + 1)
    right.plot(offsets, bits, 'o-', color=colour, markersize=4)
  left.axhline(1, color=MUTED, linewidth=1, linestyle='--')
  left.set(
    yscale='log',
    xlabel='codes, by rank',
    ylabel='frequency over even share',
  )
  right.axhline(2, color=MUTED, linewidth=1, linestyle='--')
  right.set(
    xlabel='distance of the base from its token', ylabel='bits told', ylim=0
  )
  for axes in (left, right):
    _plain(axes)
  left.legend(frameon=False, fontsize=8, loc='lower left')
  return figure


def _map(
  counted: Int[np.ndarray, 'Q offset 4'],
  vectors: Float[np.ndarray, 'Q D'],
  number: int,
) -> Figure:
  """Codes in their two main directions, by the base they mostly stand at."""
  counts = _counts(counted)
  centred = vectors - vectors.mean(0)
  # A second direction, of nothing, where codes have one coordinate.
  centred = np.pad(centred, ((0, 0), (0, 1)))
  _, lengths, directions = np.linalg.svd(centred, full_matrices=False)
  x, y = (centred @ directions[:2].T).T
  share = np.square(lengths[:2]) / np.square(lengths).sum()
  figure = Figure(figsize=(5, 4.4), layout='constrained')
  axes = figure.subplots()
  base = counted[:, counted.shape[1] // 2].argmax(-1)
  size = 6 + 300 * counts / max(counts.sum(), 1) * len(counts) / 30
  for index, (letter, colour) in enumerate(BASES.items()):
    here = (base == index) & (counts > 0)
    axes.scatter(
      x[here], y[here], s=size[here], c=colour, alpha=0.6, lw=0, label=letter
    )
  unused = counts == 0
  if unused.any():
    axes.scatter(
      x[unused],
      y[unused],
      s=8,
      facecolors='none',
      edgecolors=MUTED,
      label='unused',
    )
  axes.set(
    xlabel=f'component 1 ({share[0]:.0%})',
    ylabel=f'component 2 ({share[1]:.0%})',
  )
  axes.set_title(
    f'Codes of level {number}, by the base they stand at',
    loc='left',
    fontsize=10,
    color=INK,
  )
  _plain(axes)
  axes.legend(frameon=False, fontsize=8)
  return figure


def _logos(counted: Int[np.ndarray, 'Q offset 4'], number: int) -> Figure:
  """What stands around the most frequent codes, as sequence logos."""
  order = np.argsort(-_counts(counted), kind='stable')[:NUM_LOGOS]
  figure = Figure(figsize=(9, 6), layout='constrained')
  grid = figure.subplots(4, NUM_LOGOS // 4, sharex=True, sharey=True).flat
  background = counted.sum((0, 1)) / max(counted.sum(), 1)
  for axes, code in zip(grid, order, strict=False):
    _logo(axes, counted[code], background)
    axes.set_title(f'code {code}', fontsize=8, color=MUTED, pad=2)
  figure.suptitle(
    f'Bases around the {len(order)} most frequent codes of level {number}: '
    'bits beyond the usual',
    fontsize=10,
    color=INK,
    x=0.01,
    ha='left',
  )
  return figure


def _logo(
  axes: Any,
  counted: Int[np.ndarray, 'offset 4'],
  background: Float[np.ndarray, '4'],
) -> None:
  """Letters as high as their share of the divergence from the background."""
  reach = len(counted) // 2
  share = counted / np.maximum(counted.sum(-1, keepdims=True), 1)
  ratio = np.where(share > 0, share / background, 1)
  bits = (share * np.log2(ratio)).sum(-1)
  for index, offset in enumerate(range(-reach, reach + 1)):
    bottom = 0.0
    for base in np.argsort(share[index]):
      height = share[index, base] * bits[index]
      _letter(axes, 'ACGT'[base], offset, bottom, height)
      bottom += height
  axes.set(xlim=(-reach - 0.6, reach + 0.6), ylim=(0, 2.2))
  _plain(axes)


def _letter(
  axes: Any, letter: str, x: float | int, bottom: float, height: float
) -> None:
  path = TextPath((0, 0), letter, size=1)
  box = path.get_extents()
  fit = (
    Affine2D()
    .translate(-box.x0 - box.width / 2, -box.y0)
    .scale(0.9 / box.width, height / box.height)
    .translate(x, bottom)
  )
  axes.add_patch(
    PathPatch(fit.transform_path(path), facecolor=BASES[letter], lw=0)
  )


def _counts(counted: Int[np.ndarray, 'Q offset 4']) -> Int[np.ndarray, 'Q']:
  return counted[:, counted.shape[1] // 2].sum(-1)


def _plain(axes: Any) -> None:
  axes.spines[['top', 'right']].set_visible(False)
  axes.tick_params(labelsize=8, labelcolor=MUTED)
  axes.grid(color=GRID)
  axes.set_axisbelow(True)
