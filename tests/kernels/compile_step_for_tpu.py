"""Compiles a training step of a small hybrid for a TPU that is not here.

A process of its own, since libtpu reads the environment once:
`python tests/kernels/compile_step_for_tpu.py v5e:2x2` prints a JSON line: for
each mesh, how often each kernel stands in the compiled step.
"""

import json
import sys

from jax.experimental import topologies

from backbone import sharding
from backbone.model import BackboneConfig
from experiments.bench_step import objective, trace

# A delta layer of awkward widths, and heads for two devices each way.
SMALL = BackboneConfig(
  pattern=('delta', 'attention'),
  width=256,
  hidden=512,
  num_heads=4,
  delta_heads=4,
  delta_key_width=96,
  delta_value_width=192,
  remat='block',
  dtype='bfloat16',
)
MESHES = {
  'rows and heads': {'data': 2, 'model': 2},
  'rows and tokens': {'data': 2, 'seq': 2},
}
KERNELS = ('gated_delta_forward', 'gated_delta_backward', 'splash')


def main(topology: str) -> None:
  """Prints, by mesh, the number of calls of each kernel."""
  devices = topologies.get_topology_desc(
    platform='tpu', topology_name=topology
  ).devices
  counts = {}
  for name, axes in MESHES.items():
    mesh = sharding.make_mesh(**axes, devices=devices)
    traced, _ = trace(objective(SMALL), mesh, rows=4, length=700)
    calls = [
      line
      for line in traced.lower().compile().as_text().splitlines()
      if 'custom_call_target="tpu_custom_call"' in line
    ]
    counts[name] = {
      kernel: sum(kernel in call.split(' = ')[0] for call in calls)
      for kernel in KERNELS
    }
  print(json.dumps(counts))


if __name__ == '__main__':
  main(*sys.argv[1:])
