"""Training throughput by length: our encoders beside a torch one, one run."""

import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from tqdm import tqdm

from backbone.array_types import Array, Float, Int, PRNGKey
from backbone.model import Backbone, BackboneConfig, preset
from backbone.nn.embed import Embed
from backbone.nn.linear import Linear

LENGTHS = (512, 2_048, 8_192)
_VOCAB = 64
_TOKENS_PER_STEP = 8_192
_ROUNDS = 5
TORCH = 'torch softmax'

_FIVE_DELTA = ('delta',) * 5
# A softmax layer has 2 D² weights less than a delta layer: a wider feed-forward
# block makes up for it.
_HIDDEN_OF_SOFTMAX = 852
ENCODERS = {
  'hybrid': preset('5m', pattern=(*_FIVE_DELTA, 'local')),
  'hybrid, global softmax': preset('5m', pattern=(*_FIVE_DELTA, 'attention')),
  'all-softmax control': preset(
    '5m', pattern=('attention',) * 6, hidden=_HIDDEN_OF_SOFTMAX
  ),
}


class TokenEncoder(nnx.Module):
  """Embedding, backbone and classifier, the shape of the torch peer."""

  def __init__(self, config: BackboneConfig, *, key: PRNGKey):
    keys = jax.random.split(key, 3)
    width = config.width
    self.embed = Embed(_VOCAB, width, rngs=nnx.Rngs(keys[0]))
    self.backbone = Backbone(config, key=keys[1])
    self.head = Linear(width, _VOCAB, rngs=nnx.Rngs(keys[2]))

  def __call__(self, tokens: Int[Array, 'B T']) -> Float[Array, 'B T 64']:
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    segment_ids = jnp.ones_like(tokens)
    x = self.backbone(self.embed(tokens), segment_ids, positions)
    return self.head(x)


def make_step(
  config: BackboneConfig, tokens: np.ndarray
) -> tuple[Callable[[], float], int]:
  """A training step (AdamW) on `tokens` [B, T] that returns its seconds."""
  model = TokenEncoder(config, key=jax.random.key(0))
  graph, params = nnx.split(model)
  optimizer = optax.adamw(1e-4)
  state = [params, jax.jit(optimizer.init)(params)]
  tokens = jnp.asarray(tokens, jnp.int32)

  def loss(params, tokens):
    logits = nnx.merge(graph, params)(tokens)
    truth = jax.nn.one_hot(tokens, _VOCAB)
    return optax.softmax_cross_entropy(logits, truth).mean()

  def update(params, moments, tokens):
    gradient = jax.grad(loss)(params, tokens)
    changes, moments = optimizer.update(gradient, moments, params)
    return optax.apply_updates(params, changes), moments

  jitted = jax.jit(update, donate_argnums=(0, 1))

  def step() -> float:
    start = time.perf_counter()
    state[:] = jitted(*state, tokens)
    jax.block_until_ready(state)
    return time.perf_counter() - start

  return step, sum(x.size for x in jax.tree.leaves(params))


def measure(
  lengths: tuple[int, ...] = LENGTHS, num_rounds: int = _ROUNDS
) -> list[dict]:
  """Rows `encoder, length, tokens_per_second, parameters`.

  Encoders take turns, so that a busy machine disturbs all alike; a figure is
  the median over the rounds.
  """
  rows = []
  for length in tqdm(lengths, desc='train', unit='length'):
    shape = (_TOKENS_PER_STEP // length, length)
    tokens = np.random.default_rng(0).integers(0, _VOCAB, shape)
    steps = {n: make_step(c, tokens) for n, c in ENCODERS.items()}
    steps |= _torch_step(tokens, size=steps['hybrid'][1])
    seconds = {name: [] for name in steps}
    for index in range(num_rounds + 1):
      for name, (step, _) in steps.items():
        taken = step()
        if index:  # The first compiles, or warms torch's allocator.
          seconds[name].append(taken)
    rows += [
      {
        'encoder': name,
        'length': length,
        'tokens_per_second': _TOKENS_PER_STEP / statistics.median(taken),
        'parameters': steps[name][1],
      }
      for name, taken in seconds.items()
    ]
  return rows


def _torch_step(tokens: np.ndarray, *, size: int) -> dict:
  try:
    from experiments import bench_torch
  except ModuleNotFoundError as error:
    if error.name != 'torch':
      raise
    tqdm.write("torch is missing: pip install -e '.[parity]' for its column")
    return {}
  config = ENCODERS['all-softmax control']
  return {
    TORCH: bench_torch.make_step(
      tokens,
      vocab=_VOCAB,
      width=config.width,
      num_heads=config.num_heads,
      num_layers=len(config.pattern) * config.num_super_blocks,
      size=size,
    )
  }


def format_table(rows: list[dict]) -> str:
  """Lengths down, encoders across; in brackets the ratio to torch."""
  encoders = list(dict.fromkeys(row['encoder'] for row in rows))
  rates = {(r['length'], r['encoder']): r['tokens_per_second'] for r in rows}
  sizes = {row['encoder']: row['parameters'] for row in rows}
  grid = [
    ['tokens', *encoders],
    ['parameters', *(f'{sizes[e]:,}' for e in encoders)],
  ]
  for length in dict.fromkeys(row['length'] for row in rows):
    torch = rates.get((length, TORCH))
    cells = []
    for encoder in encoders:
      rate = rates[length, encoder]
      ratio = f' ({rate / torch:.2f}x)' if torch else ''
      cells.append(f'{rate:,.0f} tokens/s{ratio}')
    grid.append([f'{length:,}', *cells])
  widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
  return '\n'.join(
    '  '.join(cell.rjust(w) for cell, w in zip(line, widths, strict=True))
    for line in grid
  )
