"""The same ops in other libraries, for benchmarks to stand beside."""

import importlib.util
from collections.abc import Callable, Sequence

import numpy as np

from backbone.array_types import Array


def torch_peer(
  op: str, inputs: Sequence[Array], which: str
) -> Callable[[], object] | None:
  """torch's fused attention on the same numbers; None where there is none.

  Args:
    inputs: Gradient of the output, query, key, value, [B T H X], float32.
    which: 'forward', or 'forward+backward'.
  """
  if op != 'attention' or importlib.util.find_spec('torch') is None:
    return None
  import torch

  # torch wants heads before tokens; the copy is not timed.
  d_output, *sequences = (
    torch.from_numpy(np.array(x)).transpose(1, 2).contiguous() for x in inputs
  )
  attend = torch.nn.functional.scaled_dot_product_attention

  def forward():
    with torch.no_grad():
      return attend(*sequences)

  def both():
    for x in sequences:
      x.requires_grad_().grad = None
    output = attend(*sequences)
    output.backward(d_output)
    return output

  return forward if which == 'forward' else both
