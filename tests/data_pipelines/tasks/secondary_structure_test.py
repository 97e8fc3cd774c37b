"""Labels per residue: three files that must agree."""

import zipfile

import numpy as np
import pytest

from data_pipelines import central_dogma, records
from data_pipelines.errors import InputError
from data_pipelines.tasks.choose import Limits
from data_pipelines.tasks.secondary_structure import SecondaryStructure
from data_pipelines.tasks.task import NO_LABEL
from tests.real_data import data_path


def test_flip_proteins():
  path = data_path('flip', 'secondary_structure', 'splits.zip')
  limits = Limits(train=200, validation=50)
  task = SecondaryStructure(str(path), limits=limits, max_residues=1000)()
  sizes = [(task.split == name).sum() for name in records.SPLITS]
  assert sizes[:2] == [200, 50] and sizes[2] > 350
  assert len(task.notes) == 3
  for sequence, labels in zip(task.sequences, task.labels, strict=True):
    assert sequence.size == 3 * labels.size
  labels = np.concatenate(list(task.labels))
  assert set(np.unique(labels)) == {NO_LABEL, 0, 1, 2}
  share = np.bincount(labels[labels >= 0]) / (labels >= 0).sum()
  # Coil, strand, helix.
  np.testing.assert_allclose(share, [0.42, 0.21, 0.36], atol=0.04)


def _read(tmp_path, limits=None, **changes):
  files = {
    'sequences': '>p1\nMKF\n>p2\nMX\n',
    'sampled': '>p1 SET=train VALIDATION=True\nCEH\n'
    '>p2 SET=test VALIDATION=False\nHH\n',
    'mask': '>p1\n110\n>p2\n01\n',
    **changes,
  }
  path = tmp_path / 'splits.zip'
  with zipfile.ZipFile(path, 'w') as archive:
    for stem, text in files.items():
      archive.writestr(f'splits/{stem}.fasta', text)
  return SecondaryStructure(str(path), limits=limits or Limits())()


def test_masked_residues_have_no_label(tmp_path):
  task = _read(tmp_path)
  assert [track.tolist() for track in task.labels] == [[0, 1, -1], [-1, 2]]
  assert task.split.tolist() == ['validation', 'test']
  assert central_dogma.translate(task.sequences[0], 1).tolist() == [10, 8, 4]
  assert central_dogma.decode(task.sequences[1]) == 'ATGNNN'
  assert (task.pooling, task.kind) == ('unit', records.PROTEIN)


@pytest.mark.parametrize(
  'changes, said',
  [
    ({'mask': '>p1\n11\n>p2\n01\n'}, "'p1': 3 labels, but a mask of 2"),
    ({'mask': '>p1\n112\n>p2\n01\n'}, "'p1': mask '2' at 0-based position 2"),
    ({'mask': '>p1\n111\n'}, "'p2' is not in splits/mask"),
    ({'sequences': '>p1\nMK\n>p2\nMX\n'}, "'p1' has 3 labels and 2 residues"),
    ({'sequences': '>p1\nMK7\n>p2\nMX\n'}, "'p1': illegal letter '7'"),
    ({'sequences': '>p1\nMKF\n'}, "'p2' is not in splits/sequences"),
    ({'sequences': '>p1\nM\n>p1\nM\n'}, "record 2: the name 'p1' is empty or"),
    (
      {'sampled': '>p1 SET=train VALIDATION=False\nCEB\n'},
      "'p1': label 'B' at 0-based position 2",
    ),
    ({'sampled': '>p1 SET=dev\nCEH\n'}, "'p1': 'SET=dev' is no split"),
  ],
)
def test_bad_records_are_named(tmp_path, changes, said):
  with pytest.raises(InputError, match=said) as caught:
    _read(tmp_path, **changes)
  assert '\n' not in str(caught.value)
