"""The loader benchmark compares like with like."""

import pickle

import numpy as np
import pytest

from data_pipelines import central_dogma
from data_pipelines.rows import PACKED
from experiments import bench_loader


@pytest.fixture
def fasta(tmp_path):
  rng = np.random.default_rng(0)
  letters = np.array(list('ACGTacgtNR'))
  contigs = [''.join(rng.choice(letters, n)) for n in (50, 7, 61, 20)]
  path = tmp_path / 'genome.fna'
  path.write_text(
    ''.join(
      f'>contig{i} of a test\n'
      + ''.join(f'{text[j : j + 10]}\n' for j in range(0, len(text), 10))
      for i, text in enumerate(contigs)
    )
  )
  return path, [central_dogma.encode(text) for text in contigs]


@pytest.mark.parametrize('reader', ['MappedFasta', 'PyfaidxFasta'])
def test_readers_of_the_baseline_read_every_part(fasta, reader):
  if reader == 'PyfaidxFasta':
    pytest.importorskip('pyfaidx', reason='needs the extra parity')
  path, contigs = fasta
  mapped = pickle.loads(pickle.dumps(getattr(bench_loader, reader)(path)))
  assert [c[1] for c in mapped.contigs] == [len(c) for c in contigs]
  for i, contig in enumerate(contigs):
    for start in (0, 3, len(contig) // 2):
      part = mapped.codes(i, start, len(contig))
      assert np.array_equal(part, contig[start:])


def test_the_baseline_makes_the_same_arrays(fasta):
  pytest.importorskip('torch', reason='needs the extra parity')
  path, contigs = fasta
  windows = bench_loader.Windows(bench_loader.MappedFasta(path), 12)
  assert len(windows) == sum(len(contig) // 12 for contig in contigs)
  row = {name: tensor.numpy() for name, tensor in windows[0].items()}
  assert {n: a.dtype for n, a in row.items()} == {
    name: np.dtype(dtype) for name, (dtype, _) in PACKED.items()
  }
  used = row['sequence'][row['segment_ids'] == 1]
  strands = (contigs[0], central_dogma.reverse_complement(contigs[0]))
  assert any(used.tobytes() in strand.tobytes() for strand in strands)
