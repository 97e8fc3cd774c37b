"""The command starts again once, as the same process, with the settings."""

import os
import subprocess
import sys

PROGRAM = """
import os
from backbone import memory
before = os.environ.get('FIRST', str(os.getpid()))
os.environ['FIRST'] = before
memory.keep_memory()
print(before == str(os.getpid()), os.environ.get('GLIBC_TUNABLES', ''))
"""


def run(**changes):
  environment = {k: v for k, v in os.environ.items() if k != 'GLIBC_TUNABLES'}
  return subprocess.run(
    [sys.executable, '-c', PROGRAM],
    env={**environment, 'JAX_PLATFORMS': 'cpu', **changes},
    capture_output=True,
    text=True,
    check=True,
  ).stdout


def test_it_starts_again_with_the_settings():
  is_same, settings = run().split()
  assert is_same == 'True'
  assert 'hugetlb=1' in settings


def test_settings_of_the_user_stay():
  assert run(GLIBC_TUNABLES='glibc.malloc.hugetlb=0').split() == [
    'True',
    'glibc.malloc.hugetlb=0',
  ]
