"""The time of a training step on a TPU that is not here.

Estimates by the TPU's own compiler (`backbone/kernels/estimate.py`). They leave
out waiting for memory inside kernels, traffic between chips that the compiler
has no figure for, the host, and the start of each program.
"""

import dataclasses
from typing import Any

import jax
from jax.sharding import Mesh
from tqdm import tqdm

from backbone import sharding
from backbone.kernels import estimate
from backbone.model import BackboneConfig
from backbone.train import optim
from backbone.train.objective import Objective
from backbone.train.state import TrainState
from data_pipelines.rows import PACKED
from experiments import planned
from lifecode.model import LifeCodeConfig
from lifecode.objective import pretrain
from lifecode.tokenizers import ConvMerge
from lifecode.tokenizers.interface import CODON

# 130 M: the shape of Marin's public log of a hybrid with gated delta layers
# (5 of 6 layers; 4,096 tokens, batch 8, 4 chips of v5p: 167.8 ms a step, and
# 59.4 ms for softmax alone).
_HYBRID = BackboneConfig(
  pattern=(*('delta',) * 5, 'attention'),
  num_super_blocks=2,
  width=896,
  hidden=2_304,
  num_heads=7,
  delta_heads=6,
  delta_key_width=128,
  delta_value_width=256,
  dtype='bfloat16',
)
# As many parameters: a softmax layer has fewer, so its block is wider.
_SOFTMAX = dataclasses.replace(
  _HYBRID, pattern=('attention',) * 6, hidden=3_072
)
ENCODERS = {'hybrid': _HYBRID, 'all-softmax control': _SOFTMAX}
LENGTHS = (1_024, 2_048, 4_096, 8_192, 16_384, 32_768)
_TOKENS_PER_STEP = 8 * 4_096


def objective(backbone: BackboneConfig) -> Objective:
  """Masked modelling on that encoder."""
  tokenizer = ConvMerge(base_width=backbone.width // 4)
  return pretrain(LifeCodeConfig(backbone, tokenizer))


def trace(
  objective: Objective, mesh: Mesh, rows: int, length: int
) -> tuple[Any, TrainState]:
  """A training step on `mesh`, traced, and the state it moves.

  Args:
    length: Tokens of a row, of three bases each.
  """
  batch = {
    name: jax.ShapeDtypeStruct((rows, CODON * length), dtype)
    for name, (dtype, _) in PACKED.items()
  }
  transform = optim.AdamW().transform(1_000)
  return planned.trace(
    objective, transform, mesh, batch, sharding.DEFAULT_RULES
  )


def measure(topology: str, lengths: tuple[int, ...] = LENGTHS) -> list[dict]:
  """Rows `encoder, length, rows, parameters, estimated_seconds, …`."""
  compiler = estimate.Compiler(topology)
  mesh = sharding.make_mesh(devices=compiler.devices)
  rows = []
  for length in tqdm(lengths, desc='compile', unit='length', disable=None):
    for name, backbone in ENCODERS.items():
      num_rows = max(_TOKENS_PER_STEP // length, mesh.size)
      traced, held = trace(objective(backbone), mesh, num_rows, length)
      cost = compiler.of(traced)
      rows.append(
        {
          'encoder': name,
          'topology': topology,
          'length': length,
          'rows': num_rows,
          'parameters': planned.num_parameters(held.params),
          'estimated_seconds': cost.seconds,
          'kernel_seconds': sum(kernel.seconds for kernel in cost.kernels),
          'bytes_per_device': cost.memory.temp_size_in_bytes
          + cost.memory.argument_size_in_bytes,
        }
      )
  return rows


def format_table(rows: list[dict]) -> str:
  """Markdown: both encoders by length, and their ratio."""
  lines = [
    '| tokens a row | rows | hybrid, ms | all-softmax, ms | ratio |',
    '| --- | --- | --- | --- | --- |',
  ]
  by_length = {}
  for row in rows:
    by_length.setdefault(row['length'], []).append(row)
  for length, pair in by_length.items():
    hybrid, softmax = (1e3 * row['estimated_seconds'] for row in pair)
    lines.append(
      f'| {length:,} | {pair[0]["rows"]} | {hybrid:.1f} | {softmax:.1f} | '
      f'{hybrid / softmax:.2f} |'
    )
  sizes = ', '.join(
    f'{row["encoder"]} {row["parameters"] / 1e6:.1f} M' for row in rows[:2]
  )
  return '\n'.join([*lines, '', f'Parameters: {sizes}.'])
