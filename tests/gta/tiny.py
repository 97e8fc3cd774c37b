"""A language model and a genome small enough for tests."""

import pathlib
import struct

import numpy as np

from data_pipelines.genes.gene import Gene, GeneSet

WIDTH, HIDDEN, LAYERS, HEADS, GROUPS, TOKENS, CONTEXT = 16, 24, 2, 4, 4, 64, 32


def write_language(path: pathlib.Path, seed: int = 0) -> str:
  """A file of llama2.c with random weights."""
  keys = WIDTH // HEADS
  sizes = (
    TOKENS * WIDTH,
    LAYERS * WIDTH,
    *(LAYERS * WIDTH * heads * keys for heads in (HEADS, GROUPS, GROUPS)),
    LAYERS * WIDTH * HEADS * keys,
    LAYERS * WIDTH,
    *(LAYERS * WIDTH * HIDDEN,) * 3,
    WIDTH,
    CONTEXT * keys,
  )
  rng = np.random.default_rng(seed)
  numbers = rng.normal(size=sum(sizes)).astype(np.float32) / WIDTH**0.5
  header = struct.pack(
    '7i', WIDTH, HIDDEN, LAYERS, HEADS, GROUPS, TOKENS, CONTEXT
  )
  path.write_bytes(header + numbers.tobytes())
  return str(path)


class Letters:
  """A tokenizer: a token a letter."""

  def encode(self, text: str) -> list[int]:
    return [1, *(ord(letter) % (TOKENS - 2) + 2 for letter in text)]

  def decode(self, tokens) -> str:
    return ''.join(chr(64 + token) for token in tokens)


def genes(num: int = 60, seed: int = 0) -> GeneSet:
  """Genes on six contigs, both strands, two exons each."""
  rng = np.random.default_rng(seed)
  contigs = {
    f'chr{i}': rng.integers(0, 4, 6_000).astype(np.uint8) for i in range(6)
  }
  found = []
  for number in range(num):
    strand = 1 if number % 2 else -1
    anchor = int(rng.integers(0, 6_000))
    ends = (anchor, anchor + 30), (anchor + 50, anchor + 95)
    if strand < 0:
      ends = tuple((2 * anchor - b + 1, 2 * anchor - a + 1) for a, b in ends)
    inside = all(0 <= a < b <= 6_000 for a, b in ends)
    found.append(
      Gene(
        name=f'g{number}',
        contig=f'chr{number % 6}',
        anchor=anchor,
        strand=strand,
        value=float(rng.normal()),
        text=f'gene {number}; it does something',
        coding=ends if inside else (),
        cluster=f'g{number}',
      )
    )
  return GeneSet(contigs, found)
