"""Held-out records of the kinds that a vocabulary was learnt on."""

from collections.abc import Sequence
from typing import Any

from data_pipelines.errors import InputError


def held_out(
  data: Any,
  split: str,
  kinds: Sequence[str],
  max_rows: int | None = None,
) -> list[tuple[str, Any]]:
  """Label and batches of every data set and kind of `kinds`.

  Raises:
    InputError: There is none.
  """
  found = [
    (label, batches)
    for label, batches in data.evaluation(split, max_rows=max_rows)
    if label.rpartition('/')[2] in kinds
  ]
  if not found:
    raise InputError(
      f'split {split!r}: no record of the kind {" or ".join(kinds)}; set the '
      "kinds of the tables 'health' and 'leak' to what is there"
    )
  return found
