"""Where the real data lie that some tests read."""

import os
from pathlib import Path

import pytest


def data_path(*parts: str) -> Path:
  """A file of the real data: skips without it, fails on the CI machine."""
  beside = Path(__file__).resolve().parents[2] / 'shared' / 'data'
  path = Path(os.environ.get('MULTIOMICS_DATA') or beside).joinpath(*parts)
  if not path.exists():
    reason = f'no real data at {path}: set MULTIOMICS_DATA to their folder'
    if os.environ.get('CI') == 'true':
      pytest.fail(reason)
    pytest.skip(reason)
  return path
