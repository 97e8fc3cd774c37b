"""Files of tf.train.Example records, read without TensorFlow.

A record is its length (8 bytes), a checksum of that (4), the example, and a
checksum (4). The checksums are left alone: zlib, which these files are
compressed with, has its own.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError
from tensorflow_datasets.proto import tf_example_pb2

from data_pipelines.errors import InputError

_LENGTH = struct.Struct('<Q')
_CHECKSUM = 4


def read_examples(path: Path) -> Iterator[dict[str, bytes]]:
  """The bytes of each feature of each record of a zlib file.

  Raises:
    InputError: The file is damaged, or holds something else.
  """
  content = _decompress(path)
  at, number = 0, 0
  while at < len(content):
    number += 1
    start = at + _LENGTH.size + _CHECKSUM
    if start > len(content):
      raise InputError(f'{path}: ends within record {number}; fetch it again')
    (length,) = _LENGTH.unpack_from(content, at)
    at = start + length + _CHECKSUM
    if at > len(content):
      raise InputError(f'{path}: ends within record {number}; fetch it again')
    yield _features(content[start : start + length], f'{path}, record {number}')


def _decompress(path: Path) -> bytes:
  try:
    return zlib.decompress(Path(path).read_bytes())
  except OSError as error:
    raise InputError(f'{path}: cannot be read ({error})') from error
  except zlib.error as error:
    raise InputError(
      f'{path}: not compressed with zlib, or damaged ({error}); fetch it again'
    ) from error


def _features(content: bytes, where: str) -> dict[str, bytes]:
  try:
    example = tf_example_pb2.Example.FromString(content)
  except DecodeError as error:
    raise InputError(f'{where}: no tf.train.Example ({error})') from error
  found = {}
  for name, feature in example.features.feature.items():
    values = feature.bytes_list.value
    if len(values) != 1:
      raise InputError(f'{where}: feature {name!r} is not one string of bytes')
    found[name] = values[0]
  return found
