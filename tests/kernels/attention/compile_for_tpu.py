"""Compiles attention and its gradient for a TPU that is not here.

A process of its own, since libtpu reads the environment once:
`python tests/kernels/attention/compile_for_tpu.py v5e:2x2` prints a JSON line
of what each compiled case holds.
"""

import json
import sys

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from backbone.kernels.attention import api

HEADS = P('data', None, 'model')
TOKENS = P('data', 'model', None)
# Partition, then tokens, heads, widths of a key and a value, type and window.
CASES = {
  'short, bfloat16': (HEADS, 700, 4, 64, 64, jnp.bfloat16, None),
  'window, uneven widths': (HEADS, 2_100, 4, 32, 48, jnp.float32, 100),
  'long, float32, wide': (HEADS, 4_096, 4, 256, 256, jnp.float32, None),
  'longest, bfloat16': (HEADS, 131_072, 4, 64, 64, jnp.bfloat16, None),
  'split, by heads': (TOKENS, 4_096, 4, 64, 64, jnp.bfloat16, None),
  'split, by neighbours': (TOKENS, 4_096, 3, 64, 64, jnp.bfloat16, 256),
  'split, ring': (TOKENS, 4_096, 3, 64, 64, jnp.bfloat16, None),
}


def compile_case(mesh, partition, length, heads, keys, values, dtype, window):
  """Optimised HLO of the gradient of two rows on `mesh`."""

  def place(shape, dtype):
    sharding = NamedSharding(mesh, P(*partition[: len(shape)]))
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

  def total(query, key, value, segment_ids):
    output = api.attention(
      query,
      key,
      value,
      segment_ids=segment_ids,
      window=window,
      partition=partition,
    )
    return jnp.sum(output.astype(jnp.float32) ** 2)

  arguments = [
    place((2, length, heads, width), dtype) for width in (keys, keys, values)
  ]
  segment_ids = place((2, length), jnp.int32)
  with jax.set_mesh(mesh):
    lowered = jax.jit(jax.grad(total, (0, 1, 2))).lower(*arguments, segment_ids)
  return lowered.compile().as_text()


def main(topology_name: str) -> None:
  """Prints, by case, how many kernels and collectives the program has."""
  topology = topologies.get_topology_desc(
    platform='tpu', topology_name=topology_name
  )
  devices = topologies.make_mesh(topology, (2, 2), ('data', 'model')).devices
  mesh = jax.sharding.Mesh(devices, ('data', 'model'), (AxisType.Auto,) * 2)
  counts = {}
  for name, case in CASES.items():
    text = compile_case(mesh, *case)
    counts[name] = {
      word: text.count(word)
      for word in ('"tpu_custom_call"', 'all-gather', 'all-reduce')
    }
  print(json.dumps(counts))


if __name__ == '__main__':
  main(*sys.argv[1:])
