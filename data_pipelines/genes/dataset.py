"""Batches of genes for the training loop: windows, prompts and values."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np
from jaxtyping import Int, Shaped

from data_pipelines.endless import Batch, EndlessBatches, local_rows
from data_pipelines.errors import InputError
from data_pipelines.genes.features import WindowFeatures
from data_pipelines.genes.gene import GeneSet, Window, cut

Prompt = Literal['own', 'shuffled', 'none']
# From tokens [n, P], and which of them are, to arrays of n rows by name.
PromptReader = Callable[[np.ndarray, np.ndarray], Mapping[str, np.ndarray]]


@runtime_checkable
class Tokenizer(Protocol):
  """What a language model reads a text as."""

  def encode(self, text: str) -> list[int]:
    """Tokens, the start before them."""


@dataclasses.dataclass(frozen=True)
class GeneWindows:
  """Genes, and how they become batches.

  Attributes:
    genes: Reads them.
    split: Which of them train, tune and test.
    tokenizer: Of the language model; None makes no prompts.
    before: Bases upstream of a gene's anchor; a multiple of three keeps codons
      where a trunk of that stride stands.
    after: Bases from the anchor on.
    batch_size: Genes in a batch, over all processes.
    seed: Of the order, and of whose prompt a gene has if they are shuffled.
    prompt: The gene's own text, that of another gene of its split (a control),
      or none.
    template: Of the prompt, around '{text}'.
    max_prompt: Tokens of a prompt; a longer text is cut off behind.
    prompt_reader: Makes more arrays of prompts, of all genes at once, of which
      each batch has its rows.
    features: Of the windows, computed before: a batch has them in place of
      bases, and as many places as they have sections.
  """

  genes: Callable[[], GeneSet]
  split: Callable[[GeneSet], Shaped[np.ndarray, 'e']]
  tokenizer: Tokenizer | None = None
  before: int = 768
  after: int = 2_304
  batch_size: int = 64
  seed: int = 0
  prompt: Prompt = 'own'
  template: str = '{text}'
  max_prompt: int = 128
  prompt_reader: PromptReader | None = None
  features: WindowFeatures | None = None

  def __post_init__(self):
    if self.prompt not in get_args(Prompt):
      raise InputError(
        f'prompt={self.prompt!r}: give one of {", ".join(get_args(Prompt))}'
      )
    if min(self.before, self.after) < 0 or not self.before + self.after:
      raise InputError(
        f'before={self.before} and after={self.after}: give some bases'
      )
    if '{text}' not in self.template:
      raise InputError(f'template={self.template!r} has no {{text}} in it')

  @functools.cached_property
  def found(self) -> GeneSet:
    """The genes."""
    return self.genes()

  @functools.cached_property
  def split_of(self) -> Shaped[np.ndarray, 'e']:
    """Of each gene; '' is none."""
    split = self.split(self.found)
    for name in ('train', 'validation', 'test'):
      if not (split == name).any():
        raise InputError(f'no gene is in the split {name!r}; change data.split')
    return split

  @functools.cached_property
  def scale(self) -> tuple[float, float]:
    """Mean and standard deviation of the values that train."""
    values = np.array([gene.value for gene in self.found.genes])
    values = values[self.split_of == 'train']
    return float(values.mean()), float(values.std()) or 1.0

  def manifest_hash(self) -> str:
    """Of all genes with their splits."""
    digest = hashlib.sha256()
    for gene, split in zip(self.found.genes, self.split_of, strict=True):
      digest.update(repr((gene, str(split))).encode())
    for name, contig in sorted(self.found.contigs.items()):
      digest.update(name.encode() + contig.tobytes())
    return digest.hexdigest()

  def train(
    self, *, process_id: int = 0, num_processes: int = 1
  ) -> EndlessBatches:
    """Endless batches of the genes that train: this process's rows of each."""
    index = np.flatnonzero(self.split_of == 'train')
    return EndlessBatches(
      lambda epoch, at: self.batch(index[at]),
      index.size,
      self.batch_size,
      local_rows(self.batch_size, process_id, num_processes),
      self.seed,
    )

  def evaluation(
    self,
    split: str = 'validation',
    *,
    max_rows: int | None = None,
    process_id: int = 0,
    num_processes: int = 1,
  ) -> list[tuple[str, list[Batch]]]:
    """All genes of a split, or `max_rows` of them spread evenly.

    The last batch is filled up with genes of weight 0.
    """
    rows = local_rows(self.batch_size, process_id, num_processes)
    index = np.flatnonzero(self.split_of == split)
    if max_rows is not None and max_rows < index.size:
      index = index[np.arange(max_rows) * index.size // max_rows]
    filled = -(-index.size // self.batch_size) * self.batch_size
    order = np.pad(index, (0, filled - index.size), constant_values=-1)
    batches = [
      self.batch(order[first + rows.start : first + rows.stop])
      for first in range(0, filled, self.batch_size)
    ]
    return [(split, batches)]

  def batch(self, index: Int[np.ndarray, '_']) -> Batch:
    """The genes of these numbers; below 0 is none.

    Returns:
      sequence, segment_ids, positions, codon_phase and, where it is known,
      bound [B, N], or features [B, S, D] and segment_ids [B, S]; prompt and
      is_prompt [B, P], filled up in front; value (standardized), weight and
      gene [B, 1].
    """
    examples = [self._example(max(i, 0)) for i in index.tolist()]
    batch = {
      name: np.stack([e[name] for e in examples]) for name in examples[0]
    }
    batch['weight'] = (index >= 0).astype(np.float32)[:, None]
    batch['gene'] = index.astype(np.int32)[:, None]
    return batch

  def _example(self, number: int) -> Batch:
    gene = self.found.genes[number]
    window = cut(self.found, gene, self.before, self.after)
    mean, deviation = self.scale
    value = (gene.value - mean) / deviation
    example = {
      **self._inputs(window, gene.name),
      'value': np.array([value], np.float32),
    }
    if self.tokenizer is not None and self.prompt != 'none':
      whose = self._whose[number]
      example |= {name: x[whose] for name, x in self._prompts.items()}
    return example

  def _inputs(self, window: Window, gene: str) -> Batch:
    length = window.sequence.size
    if self.features is None:
      known = {} if window.bound is None else {'bound': window.bound}
      return {
        'sequence': window.sequence,
        'segment_ids': window.is_inside.astype(np.int32),
        'positions': np.arange(length, dtype=np.int32),
        'codon_phase': window.codon_phase,
        **known,
      }
    features = self.features.of(window.sequence, gene)
    inside = self.features.inside(window.is_inside, len(features))
    return {'features': features, 'segment_ids': inside.astype(np.int32)}

  @functools.cached_property
  def _prompts(self) -> Mapping[str, np.ndarray]:
    """Of every gene its own: tokens, filled up in front, and what they are."""
    size = self.max_prompt
    tokens = np.zeros((len(self.found.genes), size), np.int32)
    is_token = np.zeros(tokens.shape, bool)
    for row, gene in enumerate(self.found.genes):
      text = self.template.format(text=gene.text)
      found = self.tokenizer.encode(text)[:size]
      tokens[row, size - len(found) :] = found
      is_token[row, size - len(found) :] = True
    more = self.prompt_reader(tokens, is_token) if self.prompt_reader else {}
    return {'prompt': tokens, 'is_prompt': is_token, **more}

  @functools.cached_property
  def _whose(self) -> Int[np.ndarray, '_']:
    """Of each gene, the gene whose prompt it has: one of its split."""
    whose = np.arange(len(self.found.genes))
    if self.prompt == 'shuffled':
      rng = np.random.default_rng(self.seed)
      for split in np.unique(self.split_of):
        members = rng.permutation(np.flatnonzero(self.split_of == split))
        whose[members] = np.roll(members, 1)
    return whose
