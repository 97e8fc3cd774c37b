"""Packing plans: first fit, no overlap, whole codons, nothing lost."""

from pathlib import Path

import hypothesis
import numpy as np
from hypothesis import strategies as st

from data_pipelines import mixture, pack
from data_pipelines.records import CDS, GENOME, KINDS, PROTEIN, RNA

ROW = 240
few = hypothesis.settings(max_examples=25, deadline=None)
lengths_of_records = st.lists(st.integers(3, 900), min_size=1, max_size=60)


def make_source(kind, lengths):
  lengths = np.asarray(lengths, np.int64)
  record_ids = np.arange(len(lengths))
  return mixture.Source(Path(), 'any', 'train', kind, record_ids, lengths)


def make_sources():
  rng = np.random.default_rng(0)
  return [
    make_source(GENOME, np.full(300, 6144)),
    make_source(CDS, 3 * rng.integers(30, 800, 2000)),
    make_source(RNA, rng.integers(60, 9000, 500)),
    make_source(PROTEIN, 3 * rng.integers(30, 800, 700)),
  ]


def naive_first_fit(lengths, row_length):
  used = []
  placed = []
  for length in lengths:
    fits = [row for row, u in enumerate(used) if u + length <= row_length]
    row = fits[0] if fits else len(used)
    used += [] if fits else [0]
    placed.append((row, used[row]))
    used[row] += length
  return placed


def check_rows(plan, row_length):
  """Segments of a row follow on one another, within it, in whole codons."""
  for row in range(plan.num_rows):
    segments = plan.row(row)
    assert segments
    end = 0
    for segment in segments:
      assert segment.offset == end
      assert segment.length > 0 and segment.length % 3 == 0
      end += segment.length
    assert end <= row_length


@few
@hypothesis.given(st.lists(st.integers(1, 80), max_size=80))
def test_first_fit_equals_the_plain_definition(units):
  lengths = 3 * np.array(units, np.int64)
  rows, offsets = pack.first_fit(lengths, ROW)
  assert list(zip(rows, offsets, strict=True)) == naive_first_fit(lengths, ROW)


@few
@hypothesis.given(
  lengths=lengths_of_records,
  kind=st.integers(0, len(KINDS) - 1),
  seed=st.integers(0, 2**32),
)
def test_crops_lie_in_the_record_and_keep_its_frame(lengths, kind, seed):
  lengths = np.array(lengths)
  kinds = np.full(len(lengths), kind)
  bits = mixture.noise(seed, 'test', np.arange(len(lengths)))
  start, length = pack.crop(lengths, kinds, ROW, bits)
  assert (start >= 0).all() and (start + length <= lengths).all()
  assert (length % 3 == 0).all() and (length <= ROW).all()
  # At most two bases in front and two behind are lost, or a row is full.
  assert ((length >= lengths - 4) | (length == ROW)).all()
  assert (length >= 3).all()
  if kind in (CDS, PROTEIN):
    assert (start % 3 == 0).all()


def test_crops_of_a_window_take_every_phase_and_every_place():
  for kind in (GENOME, RNA):
    many = np.full(3_000, 300)
    bits = mixture.noise(0, 'test', np.arange(len(many)))
    start, length = pack.crop(many, np.full(len(many), kind), ROW, bits)
    assert set(length) == {ROW}
    assert set(start.tolist()) == set(range(61))


def test_training_plan_holds_every_reference_of_its_block():
  mix = mixture.make_mixture(
    make_sources(), mixture.WEIGHTS, row_length=6144, seed=0
  )
  plan = pack.plan_block(mix, 2, row_length=6144, reverse_complement=0.5)
  check_rows(plan, 6144)
  assert len(plan.segments) == mixture.BLOCK
  planned = sorted(segment[:2] for segment in plan.segments)
  assert planned == sorted(
    zip(*map(np.ndarray.tolist, mix.block(2)), strict=True)
  )
  used = sum(segment.length for segment in plan.segments)
  assert used / (plan.num_rows * 6144) > 0.98


def test_only_genome_is_reversed_and_as_often_as_asked():
  mix = mixture.make_mixture(
    make_sources(), mixture.WEIGHTS, row_length=6144, seed=0
  )
  for probability in (0.0, 0.5, 1.0):
    plan = pack.plan_block(
      mix, 0, row_length=6144, reverse_complement=probability
    )
    is_genome = [mix.sources[s.source_id].kind == GENOME for s in plan.segments]
    reversed_ = [s.is_reversed for s in plan.segments]
    assert not any(
      r and not g for r, g in zip(reversed_, is_genome, strict=True)
    )
    assert abs(sum(reversed_) / sum(is_genome) - probability) < 0.06


def test_every_part_of_a_block_holds_every_kind_alike():
  """First-fit alone would put what is short into the first rows."""
  rng = np.random.default_rng(0)
  sources = [
    make_source(GENOME, np.full(300, 6144)),
    make_source(CDS, 3 * rng.integers(200, 500, 800)),
    make_source(PROTEIN, 3 * rng.integers(30, 200, 700)),
  ]
  mix = mixture.make_mixture(sources, mixture.WEIGHTS, row_length=1_536, seed=0)
  plan = pack.plan_block(mix, 0, row_length=1_536, reverse_complement=0.5)
  kind_of = np.array([source.kind for source in mix.sources])
  tokens = np.zeros((plan.num_rows, len(KINDS)))
  for row in range(plan.num_rows):
    for segment in plan.row(row):
      tokens[row, kind_of[segment.source_id]] += segment.length
  whole = tokens.mean(0)
  for quarter in np.array_split(tokens, 4):
    error = quarter.std(0) / np.sqrt(len(quarter))
    assert (abs(quarter.mean(0) - whole) <= 3 * error).all()


def test_the_noise_of_references_differs():
  mix = mixture.make_mixture(
    [make_source(CDS, [300])], {'cds': 1}, row_length=600, seed=0
  )
  plans = [
    pack.plan_block(mix, block, row_length=600, reverse_complement=0.0)
    for block in (0, 1)
  ]
  bits = {s.noise for plan in plans for s in plan.segments}
  assert len(bits) == 2 * mixture.BLOCK


@few
@hypothesis.given(lengths_of_records)
def test_evaluation_plan_holds_every_unit_once(lengths):
  plan = pack.plan_in_order(np.array(lengths), ROW)
  check_rows(plan, ROW)
  for record_id, length in enumerate(lengths):
    parts = sorted(
      (s.start, s.length) for s in plan.segments if s.record_id == record_id
    )
    end = 0
    for start, part in parts:
      assert start == end
      end += part
    assert end == length // 3 * 3
