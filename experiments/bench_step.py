"""A training step on a TPU that is not here: its time, or whether it fits.

Estimates by the TPU's own compiler (`backbone/kernels/estimate.py`). They leave
out waiting for memory inside kernels, traffic between chips that the compiler
has no figure for, the host, and the start of each program.
"""

import dataclasses

import jax
import jax.numpy as jnp
from tqdm import tqdm

from backbone import sharding
from backbone.kernels import estimate
from backbone.model import BackboneConfig, preset
from backbone.train import optim, state
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


def trace(backbone: BackboneConfig, mesh, rows: int, length: int):
  """The masked-modelling step on `mesh`, traced, and its parameters.

  Args:
    length: Tokens of a row, of three bases each.
  """
  tokenizer = ConvMerge(base_width=backbone.width // 4)
  objective = pretrain(LifeCodeConfig(backbone, tokenizer))
  transform = optim.AdamW().transform(1_000)
  graphdef, abstract = state.abstract_state(objective, transform, mesh=mesh)
  batch = {
    name: jax.ShapeDtypeStruct((rows, CODON * length), dtype)
    for name, dtype in {
      'sequence': jnp.uint8,
      'segment_ids': jnp.int32,
      'positions': jnp.int32,
      'kind': jnp.uint8,
      'codon_phase': jnp.uint8,
      'soft_mask': jnp.bool,
      'codon_is_sampled': jnp.bool,
    }.items()
  }
  step = state.make_step(
    objective, transform, graphdef, abstract, jax.random.key(0), mesh=mesh
  )
  with jax.set_mesh(mesh):
    traced = step.trace(abstract, batch)
  return traced, sum(x.size for x in jax.tree.leaves(abstract.params))


def measure(topology: str, lengths: tuple[int, ...] = LENGTHS) -> list[dict]:
  """Rows `encoder, length, rows, parameters, estimated_seconds, …`."""
  compiler = estimate.Compiler(topology)
  mesh = sharding.make_mesh(devices=compiler.devices)
  rows = []
  for length in tqdm(lengths, desc='compile', unit='length', disable=None):
    for name, backbone in ENCODERS.items():
      num_rows = max(_TOKENS_PER_STEP // length, mesh.size)
      traced, parameters = trace(backbone, mesh, num_rows, length)
      cost = compiler.of(traced)
      rows.append(
        {
          'encoder': name,
          'topology': topology,
          'length': length,
          'rows': num_rows,
          'parameters': parameters,
          'estimated_seconds': cost.seconds,
          'kernel_seconds': sum(kernel.seconds for kernel in cost.kernels),
          'bytes_per_device': cost.memory.temp_size_in_bytes
          + cost.memory.argument_size_in_bytes,
        }
      )
  return rows


def fit(topology: str, size: str, num_bases: int) -> dict:
  """Whether a row of `num_bases`, split over all chips, can be trained on."""
  compiler = estimate.Compiler(topology)
  mesh = sharding.make_mesh(data=1, seq=-1, devices=compiler.devices)
  tokens = -(-num_bases // CODON)
  # Every chip has as many tokens; the row ends in padding.
  tokens += -tokens % mesh.size
  traced, parameters = trace(preset(size), mesh, 1, tokens)
  cost = compiler.of(traced)
  memory = cost.memory
  return {
    'topology': topology,
    'chips': mesh.size,
    'tokens': tokens,
    'parameters': parameters,
    'argument_bytes': memory.argument_size_in_bytes,
    'temporary_bytes': memory.temp_size_in_bytes,
    'bytes_per_device': memory.temp_size_in_bytes
    + memory.argument_size_in_bytes,
    'estimated_seconds': cost.seconds,
    'moved_bytes': cost.moved,
  }


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


def format_fit(row: dict) -> str:
  """One sentence a figure."""
  per_chip = row['tokens'] // row['chips']
  moved = ', '.join(
    f'{kind} {size / 1e6:,.1f} MB'
    for kind, size in sorted(row['moved_bytes'].items())
  )
  return (
    f'{row["parameters"] / 1e6:.1f} M parameters, one row of '
    f'{row["tokens"]:,} tokens ({CODON * row["tokens"]:,} bases) over '
    f'{row["chips"]} chips of {row["topology"]}, {per_chip:,} tokens each: '
    f'compiles; {row["bytes_per_device"] / 1e9:.2f} GB a chip '
    f'({row["argument_bytes"] / 1e9:.2f} GB of state and batch, '
    f'{row["temporary_bytes"] / 1e9:.2f} GB temporary); '
    f'{row["estimated_seconds"]:.2f} s a step, compiler-estimated. '
    f'A chip receives, a step: {moved}.'
  )
