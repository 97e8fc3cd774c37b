"""The torch peer of the training benchmark (the `parity` extra)."""

import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional


class Layer(nn.Module):
  """Pre-norm softmax attention and SwiGLU, the form of our control."""

  def __init__(self, width: int, hidden: int, num_heads: int):
    super().__init__()
    self.num_heads = num_heads
    self.norms = nn.ModuleList([nn.RMSNorm(width), nn.RMSNorm(width)])
    self.qkv = nn.Linear(width, 3 * width, bias=False)
    self.out = nn.Linear(width, width, bias=False)
    self.up = nn.Linear(width, 2 * hidden, bias=False)
    self.down = nn.Linear(hidden, width, bias=False)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    rows, length, width = x.shape
    qkv = self.qkv(self.norms[0](x))
    heads = qkv.view(rows, length, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
    mixed = functional.scaled_dot_product_attention(*heads)
    x = x + self.out(mixed.transpose(1, 2).reshape(rows, length, width))
    gate, up = self.up(self.norms[1](x)).chunk(2, dim=-1)
    return x + self.down(functional.silu(gate) * up)


class Encoder(nn.Module):
  """Embedding, layers, norm and classifier."""

  def __init__(
    self, vocab: int, width: int, hidden: int, num_heads: int, num_layers: int
  ):
    super().__init__()
    self.embed = nn.Embedding(vocab, width)
    self.layers = nn.ModuleList(
      Layer(width, hidden, num_heads) for _ in range(num_layers)
    )
    self.norm = nn.RMSNorm(width)
    self.head = nn.Linear(width, vocab, bias=False)

  def forward(self, tokens: torch.Tensor) -> torch.Tensor:
    x = self.embed(tokens)
    for layer in self.layers:
      x = layer(x)
    return self.head(self.norm(x))


def make_step(
  tokens, *, vocab: int, width: int, num_heads: int, num_layers: int, size: int
) -> tuple[Callable[[], float], int]:
  """A training step on `tokens` [B, T] that returns its seconds.

  The feed-forward width is the multiple of 8 whose parameter count comes
  nearest to `size`.

  Returns:
    The step, and the number of parameters.
  """
  torch.manual_seed(0)
  attention = num_layers * 4 * width**2 + 2 * vocab * width
  hidden = round((size - attention) / (3 * width * num_layers) / 8) * 8
  model = Encoder(vocab, width, hidden, num_heads, num_layers)
  optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
  tokens = torch.as_tensor(tokens, dtype=torch.long)

  def step() -> float:
    start = time.perf_counter()
    optimizer.zero_grad(set_to_none=True)
    logits = model(tokens)
    loss = functional.cross_entropy(logits.flatten(0, 1), tokens.flatten())
    loss.backward()
    optimizer.step()
    loss.item()
    return time.perf_counter() - start

  return step, sum(p.numel() for p in model.parameters())
