"""What is stored of a record: an example of TFDS."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import example_serializer

from data_pipelines.builders import shards
from data_pipelines.errors import InputError
from data_pipelines.records import PHASE_NONE, N, Record


def features() -> tfds.features.FeaturesDict:
  """Of a stored record."""
  encoding = tfds.features.Encoding.BYTES
  found = {
    key: tfds.features.Tensor(shape=(None,), dtype=dtype, encoding=encoding)
    for key, dtype in shards.ARRAYS.items()
  }
  found |= {key: tfds.features.Text() for key in shards.TEXTS}
  return tfds.features.FeaturesDict({**found, **shards.SCALARS})


def serialize(record: Record) -> bytes:
  """The same bytes for the same record, in any process.

  `soft_mask` is stored empty when no base is masked, and `codon_phase` when no
  base is in a codon: most genome windows are then a third as large to read.
  """
  return _serializer()(_example(record))


@functools.cache
def _serializer() -> Callable[[dict[str, Any]], bytes]:
  encode = features()
  serializer = example_serializer.ExampleSerializer(
    encode.get_serialized_info()
  )

  def call(example: dict[str, Any]) -> bytes:
    proto = serializer.get_tf_example(encode.encode_example(example))
    # By itself protobuf orders a map anew in every process.
    return proto.SerializeToString(deterministic=True)

  return call


def _example(record: Record) -> dict[str, Any]:
  num_bases = len(record.sequence)
  if not num_bases or record.sequence.max() > N:
    raise InputError(f'{record.name}: empty, or a base is not 0..4')
  if len(record.soft_mask) != num_bases or len(record.codon_phase) != num_bases:
    raise InputError(f'{record.name}: arrays differ in length')
  example = {
    field.name: getattr(record, field.name)
    for field in dataclasses.fields(record)
  }
  if not record.soft_mask.any():
    example['soft_mask'] = np.zeros(0, np.bool_)
  if (record.codon_phase == PHASE_NONE).all():
    example['codon_phase'] = np.zeros(0, np.uint8)
  return example
