"""A picture of a gene: what of its sequence and of its text the model reads."""

import dataclasses
from typing import Any

import jax
import matplotlib as mpl
import numpy as np
from flax import nnx
from jaxtyping import Bool, Float
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from backbone.array_types import Array, Batch, PyTree
from backbone.train.evaluate import Context
from backbone.train.state import split_model, to_device
from data_pipelines import records
from data_pipelines.genes.dataset import GeneWindows
from gta.objective import Expression
from gta.sections import explain

_METHODS = {
  'section_weights': "head's weights",
  'gradient': '|gradient x input|',
  'occlusion': '|change without it|',
}
_WORDS_A_LINE = 12


def weigh_words(
  objective: Expression, model: nnx.Module, aux: PyTree, batch: Batch
) -> Float[Array, 'B P']:
  """Gradient times input of each token of the prompt; zero of padding."""
  language = objective.language.merge(aux['frozen'])
  given = {
    k: v for k, v in batch.items() if k not in ('prompt_past', 'prompt_states')
  }

  def value_of(vectors):
    read = {**given, 'prompt_vectors': vectors}
    return objective.predict(model, aux, read).value.sum()

  vectors = language.embed(batch['prompt'])
  weights = (jax.grad(value_of)(vectors) * vectors).sum(-1)
  return weights * batch['is_prompt']


@dataclasses.dataclass(frozen=True)
class GenePictures:
  """Leaves pictures/gene-NAME.png of some genes; has no rows.

  Attributes:
    split: Whose genes.
    number: How many, spread evenly.
    decode: Whether words are shown, which needs a tokenizer with `decode`.
  """

  split: str = 'test'
  number: int = 3
  decode: bool = True

  def rows(self, context: Context) -> list[dict[str, Any]]:
    """Draws; a gene a picture."""
    data: GeneWindows = context.data
    objective: Expression = context.objective
    graph, params = split_model(context.model)
    has_text = data.tokenizer is not None and data.prompt != 'none'

    @jax.jit
    def run(params, aux, batch):
      model = nnx.merge(graph, params)
      found = explain(objective, model, aux, batch)
      predicted = objective.predict(model, aux, batch)
      found['value'] = predicted.value
      if predicted.bound is not None:
        found['bound'] = predicted.bound
      if has_text:
        found['words'] = weigh_words(objective, model, aux, batch)
      return found

    members = np.flatnonzero(data.split_of == self.split)
    chosen = members[np.arange(self.number) * members.size // self.number]
    filled = np.pad(
      chosen, (0, -self.number % data.batch_size), constant_values=-1
    )
    folder = context.workdir / 'pictures'
    folder.mkdir(exist_ok=True)
    for first in range(0, self.number, data.batch_size):
      batch = data.batch(filled[first : first + data.batch_size])
      with jax.set_mesh(context.mesh):
        made = run(params, context.aux, to_device(batch, context.mesh))
      made = {name: np.asarray(array) for name, array in made.items()}
      for row in np.flatnonzero(batch['gene'][:, 0] >= 0).tolist():
        one = {name: array[row] for name, array in made.items()}
        gene = {name: array[row] for name, array in batch.items()}
        self._draw(data, objective, gene, one, folder)
    return []

  def _draw(self, data, objective, inputs, made, folder) -> None:
    mpl.use('Agg')
    gene = data.found.genes[int(inputs['gene'][0])]
    size = objective.model.section_bases
    starts = np.arange(made['occlusion'].size) * size - data.before
    num_bars = len(_METHODS) + ('bound' in made)
    has_words = bool(self.decode) and 'words' in made
    figure, axes = plt.subplots(
      num_bars + has_words,
      figsize=(9, 1 + num_bars * 4 / 3 + has_words),
      height_ratios=[*[2] * num_bars, *[1.6] * has_words],
    )
    bars = axes[:num_bars]
    for axis, (method, label) in zip(bars, _METHODS.items(), strict=False):
      axis.bar(starts, made[method], width=size, align='edge')
      axis.set_ylabel(label, fontsize='small')
    if 'bound' in made:
      _draw_track(bars[-1], inputs, made['bound'], data.before)
    for axis in bars:
      axis.set_xlim(starts[0], starts[-1] + size)
      axis.axvline(0, color='0.5', linewidth=0.8)
      if 'codon_phase' in inputs:
        is_coding = inputs['codon_phase'] != records.PHASE_NONE
        _shade(axis, is_coding, data.before)
      for start, end in gene.enhancers:
        ends = sorted(
          gene.strand * (base - gene.anchor) for base in (start, end - 1)
        )
        axis.axvspan(*ends, color='C3', alpha=0.6, linewidth=1.5)
    mean, deviation = data.scale
    predicted = float(made['value']) * deviation + mean
    axes[0].set_title(
      f'{gene.name}: measured {gene.value:.2f}, predicted {predicted:.2f} '
      '(grey: coding, red: enhancer)',
      fontsize='medium',
    )
    bars[-1].set_xlabel('bases from the anchor, along the gene')
    if has_words:
      axes[-1].axis('off')
      _write_words(axes[-1], data, inputs, made['words'])
    figure.tight_layout()
    figure.savefig(folder / f'gene-{gene.name}.png', dpi=120)
    plt.close(figure)


def _shade(axis: Axes, where: Bool[np.ndarray, '_'], before: int) -> None:
  edges = np.flatnonzero(np.diff(np.pad(where, 1).astype(int)))
  for start, end in edges.reshape(-1, 2).tolist():
    axis.axvspan(
      start - before, end - before, color='0.9', linewidth=0, zorder=0
    )


def _draw_track(axis: Axes, inputs, predicted, before: int) -> None:
  """Share of each bin that is bound: as predicted, and as it is known."""
  bin_size = inputs['segment_ids'].size // predicted.size
  starts = np.arange(predicted.size) * bin_size - before
  if 'bound' in inputs:
    known = inputs['bound'].reshape(predicted.size, -1).mean(1)
    axis.fill_between(starts, known, step='post', color='0.7', label='known')
  share = predicted / bin_size
  axis.step(starts, share, where='post', linewidth=0.8, label='predicted')
  axis.set_ylabel('bound', fontsize='small')
  axis.legend(fontsize='x-small', loc='upper right')


def _write_words(axis: Axes, data, inputs, weights) -> None:
  """Tokens in lines, the darker the more they weigh."""
  is_token = inputs['is_prompt']
  tokens, weights = inputs['prompt'][is_token], np.abs(weights[is_token])
  shade = weights / max(weights.max(), 1e-12)
  for at, (token, dark) in enumerate(zip(tokens.tolist(), shade, strict=True)):
    line, column = divmod(at, _WORDS_A_LINE)
    axis.text(
      column / _WORDS_A_LINE,
      1 - 0.13 * line,
      data.tokenizer.decode([token]).strip() or '·',
      fontsize=7,
      transform=axis.transAxes,
      bbox={'facecolor': 'C0', 'alpha': 0.6 * float(dark), 'linewidth': 0},
    )
