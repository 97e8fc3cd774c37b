"""What is said of a unit: coding, non-coding, or nothing."""

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines import records
from lifecode.regions import CODING, NON_CODING, UNKNOWN, RegionLabels, of_units
from tests.lifecode.batches import SEGMENTS, make_batch, on_device

LABEL_OF_KIND = {
  records.GENOME: UNKNOWN,
  records.CDS: CODING,
  records.RNA: NON_CODING,
  records.PROTEIN: CODING,
}


def test_labels_follow_kind_and_frame():
  batch = make_batch(rows=1)
  labels = of_units(on_device(batch), 3)[0]
  for start, length, kind in SEGMENTS:
    found = labels[start // 3 : (start + length) // 3]
    assert (found == LABEL_OF_KIND[kind]).all()
  # A unit of RNA with a base outside the codons straddles an edge.
  batch['codon_phase'][0, 42:48] = [0, 1, 2, 0, 1, records.PHASE_NONE]
  labels = of_units(on_device(batch), 3)[0]
  assert labels[14:16].tolist() == [CODING, NON_CODING]


def test_labels_are_withheld_from_whole_segments_in_training_only():
  batch = on_device(make_batch(rows=400))
  known = of_units(batch, 3)
  rule = RegionLabels(dropout=0.25)
  given = rule(batch, 3, jax.random.key(0), train=True)
  withheld = []
  for start, length, kind in SEGMENTS:
    part = np.asarray(given)[:, start // 3 : (start + length) // 3]
    assert (part == part[:, :1]).all()
    if kind != records.GENOME:
      assert np.isin(part[:, 0], (UNKNOWN, LABEL_OF_KIND[kind])).all()
      withheld.append(part[:, 0] == UNKNOWN)
  # Three segments of 400 rows: four standard deviations.
  assert abs(np.mean(withheld) - 0.25) < 0.05
  assert not (withheld[0] == withheld[1]).all()
  evaluated = rule(batch, 3, jax.random.key(0), train=False)
  assert jnp.array_equal(evaluated, known)
