"""What of test sequences is found in training data, and what is not."""

import csv
import gzip
import json
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines import (
  central_dogma,
  contamination,
  minimizers,
  records,
  training_index,
)
from data_pipelines.builders import omics
from data_pipelines.errors import InputError
from data_pipelines.minimizers import Scheme, TextIndex
from data_pipelines.tasks import Task
from tests.real_data import data_path

WINDOW = 600


def _bases(length, seed):
  rng = np.random.default_rng(seed)
  return rng.integers(0, 4, length, dtype=np.uint8)


def _record(name, sequence, kind=records.GENOME, start=0, **changes):
  values = {
    'name': name,
    'sequence': sequence,
    'soft_mask': np.zeros(len(sequence), np.bool_),
    'kind': kind,
    'codon_phase': np.full(len(sequence), 3, np.uint8),
    'genetic_code': 11,
    'amino_acids': np.zeros(0, np.uint8),
    'codon_is_sampled': False,
    'source': 'x',
    'contig': 'c' if kind == records.GENOME else name,
    'start': start,
    'end': start + len(sequence),
    'strand': 1,
  }
  return records.Record(**{**values, **changes})


def _genome(seed=0):
  genome = _bases(5 * WINDOW, seed)
  genome[700:760] = records.N
  return genome


def _write(folder, genome, *others, name='x'):
  windows = [
    _record(f'w{start}', genome[start : start + WINDOW], start=start)
    for start in range(0, len(genome), WINDOW)
  ]
  # A hole: what is on both sides of it never stood side by side.
  far = _record('far', genome[:WINDOW], start=10 * WINDOW)
  held_out = _record('held out', _bases(500, 99))
  omics.write(
    {'train': [*windows, far, *others], 'test': [held_out]},
    folder,
    name,
    provenance={},
  )
  return folder


def _protein(residues, name='p', seed=0):
  codons = central_dogma.reverse_translate(
    residues, 11, policy='uniform', rng=np.random.default_rng(seed)
  )
  return _record(
    name,
    codons,
    records.PROTEIN,
    amino_acids=residues,
    codon_is_sampled=True,
  )


def _task(test, train=(), **changes):
  split = ['test'] * len(test) + ['train'] * len(train)
  labels = np.zeros(len(split), np.int64)
  values = {'split': np.array(split), 'labels': labels, **changes}
  return Task(name='toy', sequences=[*test, *train], **values)


def _side(task, folder, threshold=0.5):
  index = contamination.open_index(folder)
  (side,) = contamination.report(task, index, threshold).sides
  return side


def _mutate(sequence, share, seed=1):
  rng = np.random.default_rng(seed)
  places = rng.permutation(len(sequence))[: round(share * len(sequence))]
  mutated = sequence.copy()
  mutated[places] = (mutated[places] + 1) % 4
  return mutated


def test_planted_duplicates_are_found_on_both_strands(tmp_path):
  genome = _genome()
  folder = _write(tmp_path, genome)
  planted = [
    genome[:WINDOW],
    genome[17:317],
    genome[650:810],
    # Across the border of two windows that follow each other.
    genome[WINDOW - 50 : WINDOW + 50],
    genome[2001:2032],
  ]
  other = [central_dogma.reverse_complement(x) for x in planted]
  side = _side(_task(planted + other), folder)
  assert side.num_exact == side.num_similar == side.num_test == 10
  assert side.num_unchecked == side.num_exact_in_task == 0
  assert side.num_searched == 6 * WINDOW - 60


@pytest.mark.parametrize('strand', [1, -1])
def test_what_is_nearly_a_duplicate_is_not_exact(tmp_path, strand):
  genome = _genome()
  folder = _write(tmp_path, genome)
  unlike_n = genome[650:810].copy()
  unlike_n[55] = 0
  near = [
    # The hole is no neighbourhood, and another N is another sequence.
    np.concatenate([genome[-60:], genome[:60]]),
    unlike_n,
    np.append(genome[100:300], 3 - genome[300]).astype(np.uint8),
    np.append(3 - genome[99], genome[100:300]).astype(np.uint8),
  ]
  near = [
    x if strand == 1 else central_dogma.reverse_complement(x) for x in near
  ]
  side = _side(_task(near), folder)
  assert (side.num_exact, side.num_similar) == (0, 4)


def test_mutated_copies_are_similar_and_strangers_are_not(tmp_path):
  genome = _genome()
  folder = _write(tmp_path, genome)
  copy = genome[1000:2500]
  few, many = _mutate(copy, 0.02), _mutate(copy, 0.05)
  assert _counts(_side(_task([few, many]), folder)) == (0, 1)
  assert _counts(_side(_task([few, many]), folder, 0.2)) == (0, 2)
  # A stranger, and the test split of the data themselves.
  strangers = [_bases(1500, 7), _bases(500, 99)]
  assert _counts(_side(_task(strangers), folder, 0.01)) == (0, 0)


def _counts(side):
  return side.num_exact, side.num_similar


def test_too_short_is_counted_apart(tmp_path):
  genome = _genome()
  folder = _write(tmp_path, genome)
  broken = genome[100:140].copy()
  broken[20] = records.N
  # 21 + 11 - 1 known bases in a row are needed.
  side = _side(_task([genome[:30], genome[:31], broken]), folder)
  assert (side.num_test, side.num_unchecked, side.num_exact) == (3, 2, 1)


def test_proteins_are_compared_by_residues(tmp_path):
  rng = np.random.default_rng(3)
  residues = rng.integers(0, 20, 90, dtype=np.uint8)
  coding = rng.integers(0, 20, 90, dtype=np.uint8)
  usage = {'policy': 'uniform', 'rng': rng}
  cds = _record(
    'cds', central_dogma.reverse_translate(coding, 11, **usage), records.CDS
  )
  folder = _write(tmp_path, _genome(), _protein(residues), cds)
  stranger = rng.integers(0, 20, 90, dtype=np.uint8)
  test = [
    central_dogma.reverse_translate(x, 11, **usage)
    for x in (residues, coding[20:60], stranger, residues[:11])
  ]
  side = _side(_task(test, kind=records.PROTEIN, genetic_code=11), folder)
  assert (side.num_exact, side.num_similar) == (2, 2)
  assert (side.num_unchecked, side.num_searched) == (1, 180)
  # Drawn codons are nowhere among the bases.
  assert _side(_task([_protein(residues).sequence]), folder).num_similar == 0


def test_both_sides_of_pairs_and_the_own_training_set(tmp_path):
  genome = _genome()
  folder = _write(tmp_path, genome)
  one, two = _bases(200, 5), _bases(200, 6)
  task = _task(
    [one, genome[:100], central_dogma.reverse_complement(two)],
    [two, one, two],
    partners=[genome[:99]] * 3 + [one] * 3,
  )
  found = contamination.check(task, folder)
  assert json.loads(json.dumps(found))['task'] == 'toy'
  first, second = found['sides']
  assert (first['side'], second['side']) == ('sequences', 'partners')
  assert (first['num_exact'], first['num_exact_in_task']) == (1, 2)
  assert (second['num_exact'], second['num_exact_in_task']) == (3, 0)
  residues = np.arange(60, dtype=np.uint8) % 20
  folder = _write(tmp_path / 'with protein', genome, _protein(residues))
  partner = _protein(residues, seed=1).sequence
  kinds = {'kind': records.RNA, 'partner_kind': records.PROTEIN}
  task = _task([genome[:100]], partners=[partner], genetic_code=11, **kinds)
  sides = contamination.check(task, folder)['sides']
  assert [side['kind'] for side in sides] == ['rna', 'protein']
  assert [side['num_exact'] for side in sides] == [1, 1]


def test_other_data_make_another_index(tmp_path):
  genome, other = _genome(), _genome(1)
  folder = _write(tmp_path, genome)
  task = _task([other[:300]])
  with mock.patch.object(
    training_index.Index, 'build', side_effect=training_index.Index.build
  ) as build:
    assert _side(task, folder).num_exact == 0
    assert _side(task, folder).num_exact == 0
    assert build.call_count == 1
    before = contamination.data_hash(folder)
    _write(folder, other, name='y')
    assert contamination.data_hash(folder) != before
    assert _side(task, folder).num_exact == 1
    assert build.call_count == 2
  kept = sorted(folder.glob('.contamination-*'))
  assert len(kept) == 2
  for path in kept:
    path.write_bytes(b'half')
  with pytest.raises(InputError, match='remove it'):
    _side(task, folder)


@pytest.mark.parametrize(
  'folder, num_shared, num_exact',
  # One of the shared sequences is in the larger test set twice.
  [('prom_core_all', 42, 43), ('prom_core_tata', 16, 16)],
)
def test_known_leak_of_gue(folder, num_shared, num_exact):
  letters, split = [], []
  for stem in ('train', 'test'):
    path = data_path('gue', 'prom', folder, f'{stem}.csv.gz')
    with gzip.open(path, 'rt') as text:
      read = [row['sequence'] for row in csv.DictReader(text)]
    letters += read
    split += [stem] * len(read)
  split = np.array(split)
  # All are 70 bases long.
  sequences = central_dogma.encode(''.join(letters)).reshape(-1, 70)
  task = Task(folder, [*sequences], np.zeros(len(split), np.int64), split)
  nothing = contamination.Index.build([])
  (side,) = contamination.report(task, nothing).sides
  test, train = (
    {x.tobytes() for x in sequences[split == name]}
    for name in ('test', 'train')
  )
  assert len(test & train) == num_shared
  assert side.num_exact_in_task == num_exact < side.num_similar_in_task
  assert side.num_exact == side.num_unchecked == side.num_searched == 0


def test_command(tmp_path, capsys):
  genome = _genome()
  folder = _write(tmp_path / 'data', genome)
  text = central_dogma.decode(genome[40:140])
  toy = tmp_path / 'tf' / '0'
  toy.mkdir(parents=True)
  for stem in ('train', 'dev', 'test'):
    (toy / f'{stem}.csv').write_text(f'sequence,label\n{text},1\n')
  fasta = tmp_path / 'test.fa'
  fasta.write_text(f'>a\n{text}\n>b\n{"ACGT" * 5}\n')
  arguments = ['', f'--data={folder}', f'--gue={toy}', f'--fasta={fasta}']
  assert contamination.main(arguments) == 0
  lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
  assert [line['task'] for line in lines] == ['tf/0', 'test.fa']
  first, second = (line['sides'][0] for line in lines)
  assert first['num_exact'] == first['num_exact_in_task'] == 1
  assert (second['num_test'], second['num_unchecked']) == (2, 1)
  for bad in (
    ['', f'--data={folder}'],
    [*arguments, '--threshold=0'],
    [*arguments, '--k=40'],
    ['', f'--data={toy}', f'--gue={toy}'],
  ):
    assert contamination.main(bad) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def _reference(scheme, text):
  """Minimizers window by window, k-mer by k-mer."""
  ranks = []
  for start in range(len(text) - scheme.k + 1):
    word = [int(letter) for letter in text[start : start + scheme.k]]
    if max(word) >= scheme.num_letters:
      ranks.append(None)
      continue
    if scheme.has_two_strands:
      word = min(word, [scheme.num_letters - 1 - x for x in word[::-1]])
    number = 0
    for letter in word:
      number = scheme.num_letters * number + letter
    hashed = minimizers.noise(0, 'minimizer', np.array([number]))
    ranks.append(int(hashed[0]) | 1)
  chosen = {}
  for start in range(len(ranks) - scheme.window + 1):
    window = ranks[start : start + scheme.window]
    if None not in window:
      for offset, rank in enumerate(window):
        if rank == min(window):
          chosen[start + offset] = rank
  return chosen


@settings(deadline=None, max_examples=60)
@given(
  k=st.integers(1, 9),
  window=st.integers(1, 8),
  has_two_strands=st.booleans(),
  chunk=st.integers(1, 40),
  letters=st.lists(
    st.sampled_from([0, 0, 0, 1, 1, 2, 3, 3, 3, 4, 5]), max_size=90
  ),
)
def test_minimizers_equal_a_slow_reference(
  k, window, has_two_strands, chunk, letters
):
  scheme = Scheme(k, window, 4, has_two_strands)
  text = np.array(letters, np.uint8)
  with mock.patch.object(minimizers, '_CHUNK', chunk):
    positions, hashes = scheme.find(text)
  expected = _reference(scheme, text)
  found = zip(positions.tolist(), hashes.tolist(), strict=True)
  assert dict(found) == expected
  assert positions.tolist() == sorted(expected)


@settings(deadline=None, max_examples=60)
@given(
  texts=st.lists(
    st.text('AACGTN', min_size=1, max_size=40), min_size=1, max_size=5
  ),
  queries=st.lists(
    st.text('AACGTN', min_size=1, max_size=12), min_size=1, max_size=6
  ),
)
def test_containment_equals_search_of_the_text(texts, queries):
  scheme = Scheme(3, 2, 4, True)
  index = TextIndex.build(scheme, map(central_dogma.encode, texts))
  encoded = [central_dogma.encode(query) for query in queries]
  found = index.search(encoded)
  for i, (query, sequence) in enumerate(zip(queries, encoded, strict=True)):
    other = central_dogma.decode(central_dogma.reverse_complement(sequence))
    is_there = any(query in text or other in text for text in texts)
    is_checked = any(len(part) >= 4 for part in query.split('N'))
    assert found.is_checked[i] == is_checked
    assert found.is_contained[i] == (is_there and is_checked)
    if is_there and is_checked:
      assert found.share[i] == 1
