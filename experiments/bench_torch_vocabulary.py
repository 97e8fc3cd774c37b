"""The torch peer of learning a vocabulary (the `parity` extra)."""

import time
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional
from vector_quantize_pytorch import VectorQuantize


class Block(nn.Module):
  """ConvNeXt's block, channels last but for the depthwise filter."""

  def __init__(self, width: int):
    super().__init__()
    self.convolution = nn.Conv1d(width, width, 7, padding=3, groups=width)
    self.norm = nn.LayerNorm(width)
    self.up = nn.Linear(width, 4 * width)
    self.down = nn.Linear(4 * width, width)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    y = self.convolution(x.transpose(1, 2)).transpose(1, 2)
    y = functional.gelu(self.up(self.norm(y)), approximate='tanh')
    return x + self.down(y)


class Dense(nn.Module):
  """A dense filter along the row."""

  def __init__(self, inputs: int, outputs: int):
    super().__init__()
    self.convolution = nn.Conv1d(inputs, outputs, 5, padding=2)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    return self.convolution(x.transpose(1, 2)).transpose(1, 2)


class Tokenizer(nn.Module):
  """Encoder, two levels of codes, decoder: the shape of ours."""

  def __init__(
    self,
    stem_width: int,
    width: int,
    num_blocks: int,
    sizes: Sequence[int],
    decay: float,
    revive_below: float,
  ):
    super().__init__()
    self.stem = Dense(5, stem_width)
    self.stem_norm = nn.LayerNorm(stem_width)
    self.widen = Dense(stem_width, width)
    self.encoder = nn.ModuleList(Block(width) for _ in range(num_blocks))
    self.levels = nn.ModuleList(
      VectorQuantize(
        dim=width,
        codebook_size=size,
        decay=decay,
        threshold_ema_dead_code=revive_below,
        kmeans_init=True,
        kmeans_iters=10,
        commitment_weight=1.0,
      )
      for size in sizes
    )
    self.decoder = nn.ModuleList(Block(width) for _ in range(num_blocks))
    self.narrow = Dense(width, stem_width)
    self.narrow_norm = nn.LayerNorm(stem_width)
    self.head = Dense(stem_width, 4)

  def forward(self, bases: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of the bases, and the commitment."""
    x = self.widen(functional.gelu(self.stem_norm(self.stem(bases))))
    half = len(self.encoder) // 2
    for block in self.encoder[:half]:
      x = block(x)
    coarse, _, coarse_loss = self.levels[0](x)
    for block in self.encoder[half:]:
      x = block(x)
    fine, _, fine_loss = self.levels[1](2 * x - coarse.detach())
    x = (coarse + fine) / 2
    for block in self.decoder:
      x = block(x)
    x = functional.gelu(self.narrow_norm(self.narrow(x)))
    return self.head(x), (coarse_loss + fine_loss).sum()


def make_step(
  sequence, *, commitment: float, **shape
) -> tuple[Callable[[], float], int]:
  """A training step on `sequence` [B, N] that returns its seconds.

  Returns:
    The step, and the number of parameters.
  """
  torch.manual_seed(0)
  model = Tokenizer(**shape)
  optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
  target = torch.as_tensor(sequence, dtype=torch.long)
  # A channel for hidden bases, as ours.
  bases = functional.one_hot(target, 5).float()

  def step() -> float:
    start = time.perf_counter()
    optimizer.zero_grad(set_to_none=True)
    scores, distance = model(bases)
    loss = functional.cross_entropy(scores.flatten(0, 1), target.flatten())
    loss = loss + commitment * distance
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    loss.item()
    return time.perf_counter() - start

  return step, sum(p.numel() for p in model.parameters())
