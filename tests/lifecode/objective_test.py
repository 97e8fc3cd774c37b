"""Life-Code's objectives: what counts in each, and all of them as one."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from data_pipelines import central_dogma, records
from lifecode.masking import UnitMasking
from lifecode.model import LifeCode
from lifecode.objective import pretrain
from lifecode.objectives import amino_acid_marginal
from lifecode.objectives.masked import MaskedForward
from lifecode.tokenizers import ConvMerge, Lookup
from lifecode.tokenizers.interface import MASK
from tests.lifecode.batches import (
  TEACHER_WIDTH,
  TINY,
  make_batch,
  on_device,
)
from tests.objective_conformance import Conformance
from tests.tolerance import assert_close

ALL_HIDDEN = MaskedForward(UnitMasking(rate=1.0))
HALF_HIDDEN = MaskedForward(UnitMasking(rate=0.5))


@dataclasses.dataclass(frozen=True)
class FixedTeacher:
  """Features that the batch brings along."""

  width: int = TEACHER_WIDTH
  label: str = 'fixed'

  def init(self):
    return ()

  def features(self, params, batch):
    return batch['teacher'].astype(jnp.float32)

  def is_taught(self, batch):
    return batch['amino_acid'][:, ::3] < records.AMINO_ACIDS.index('*')


def everything(**options):
  return pretrain(
    TINY,
    **{'forward': HALF_HIDDEN} | options,
    amino_acid_marginal=1.0,
    translation=1.0,
    distillation=0.5,
    teacher=FixedTeacher(),
  )


class TestPretrain(Conformance):
  """All four at once."""

  overfit_steps = 80

  def objective(self):
    return everything()

  def batch(self):
    return make_batch()


class TestCodonTable(Conformance):
  """Masked modelling alone, of looked-up codons."""

  overfit_steps = 80

  def objective(self):
    model = dataclasses.replace(TINY, tokenizer=Lookup(3))
    return pretrain(model, forward=HALF_HIDDEN)

  def batch(self):
    return make_batch()


def loss_of(objective, batch, *, train=False):
  model, aux = objective.init(jax.random.key(0))
  key = jax.random.key(1)
  loss, (_, metrics) = objective.loss(
    model, aux, on_device(batch), key, train=train
  )
  return float(loss), {name: m.value() for name, m in metrics.items()}


def test_the_encoder_runs_once_for_all_objectives(monkeypatch):
  calls = []
  encode = LifeCode.encode

  def spy(self, *arguments):
    calls.append(1)
    return encode(self, *arguments)

  monkeypatch.setattr(LifeCode, 'encode', spy)
  loss, metrics = loss_of(everything(), make_batch())
  assert len(calls) == 1
  assert loss == pytest.approx(
    np.log(2) * metrics['MaskedModelling/bits_per_base']
    + metrics['AminoAcidMarginal/loss']
    + metrics['Translation/loss']
    + 0.5 * metrics['Distillation/loss'],
    rel=1e-5,
  )


@pytest.mark.parametrize(
  'tokenizer',
  [ConvMerge(8), ConvMerge(8, head='codons'), *map(Lookup, (1, 3, 6))],
  ids=repr,
)
def test_hidden_bases_cannot_be_recovered(tokenizer):
  """With every unit masked, changing the bases leaves the scores unchanged."""
  model = LifeCode(
    dataclasses.replace(TINY, tokenizer=tokenizer), key=jax.random.key(0)
  )
  batch = make_batch()
  # Words of six need segments of whole words.
  batch['segment_ids'] = np.minimum(batch['segment_ids'], 1)
  batch['positions'][:] = np.arange(batch['positions'].shape[1])

  @jax.jit
  def encode(sequence):
    rows = ALL_HIDDEN(
      model,
      on_device(batch) | {'sequence': sequence},
      jax.random.key(1),
      train=False,
    )
    return rows.encoded.hidden, model.scores(
      rows.encoded, jnp.zeros_like(sequence)
    )

  sequence = batch['sequence'].astype(np.int32)
  changed = np.where(sequence < 4, 3 - sequence, sequence)
  first, second = encode(jnp.asarray(sequence)), encode(jnp.asarray(changed))
  jax.tree.map(np.testing.assert_array_equal, first, second)


def test_genome_and_rna_are_only_modelled():
  batch = make_batch()
  is_coding = batch['codon_phase'] < records.PHASE_NONE
  batch['segment_ids'] = np.where(is_coding, 0, batch['segment_ids'])
  batch['amino_acid'][is_coding] = records.NO_RESIDUE
  _, metrics = loss_of(everything(forward=ALL_HIDDEN), batch)
  assert metrics['MaskedModelling/bits_per_base'] > 0
  for name in ('Translation', 'AminoAcidMarginal', 'Distillation'):
    assert np.isnan(metrics[f'{name}/loss'])


def test_a_drawn_codon_counts_as_a_residue_only():
  batch = make_batch()
  is_drawn = batch['codon_is_sampled']
  objective = pretrain(TINY, forward=ALL_HIDDEN)
  loss, _ = loss_of(objective, batch)
  unseen = batch | {
    'sequence': np.where(is_drawn, records.N, batch['sequence'])
  }
  assert loss == pytest.approx(loss_of(objective, unseen)[0], rel=1e-6)
  marginal = pretrain(
    TINY, forward=ALL_HIDDEN, masked_modelling=0.0, amino_acid_marginal=1.0
  )
  known = batch | {
    'amino_acid': np.where(is_drawn, batch['amino_acid'], records.NO_RESIDUE)
  }
  assert loss_of(marginal, batch)[0] == loss_of(marginal, known)[0] > 0


@pytest.mark.parametrize('genetic_code', [1, 2, 11])
def test_the_marginal_adds_up_synonyms_of_the_records_own_code(genetic_code):
  batch = make_batch(rows=2, genetic_code=genetic_code)
  rng = np.random.default_rng(0)
  codons = jax.nn.log_softmax(rng.normal(size=(2, 24, 64)).astype(np.float32))
  hidden = jnp.ones((2, 24), bool)
  nats, is_target = amino_acid_marginal.residue_nats(
    codons, on_device(batch), hidden
  )
  of_codon = central_dogma.genetic_code(genetic_code).amino_acid_of_codon
  residues = batch['amino_acid'][:, ::3]
  wanted = np.flatnonzero(residues.ravel() != records.NO_RESIDUE)
  np.testing.assert_array_equal(np.flatnonzero(is_target), wanted)
  p = np.exp(np.asarray(codons, np.float64)).reshape(-1, 64)
  expected = [
    -np.log(p[i, of_codon == residues.ravel()[i]].sum()) for i in wanted
  ]
  assert_close(
    np.asarray(nats).ravel()[wanted], expected, dtype=jnp.float32, length=64
  )


def test_the_marginal_skips_what_no_codon_of_the_table_says():
  batch = make_batch(rows=1, genetic_code=11)
  batch['sequence'][:, 18:21] = central_dogma.encode('GTG')
  batch['amino_acid'][:, 18:21] = central_dogma.METHIONINE
  _, is_target = amino_acid_marginal.residue_nats(
    jnp.zeros((1, 24, 64)), on_device(batch), jnp.ones((1, 24), bool)
  )
  assert not is_target[0, 6] and is_target[0, 7:14].all()


def test_words_of_two_segments_are_no_target():
  """The second codon of the third word is of segment 2."""
  batch = make_batch(rows=1)
  batch['segment_ids'][:] = np.repeat([1, 2, 0], [15, 51, 6])
  model = dataclasses.replace(TINY, tokenizer=Lookup(6))
  objective = pretrain(model, forward=ALL_HIDDEN)
  changed = batch | {'sequence': batch['sequence'].copy()}
  changed['sequence'][:, 15:18] = 3 - changed['sequence'][:, 15:18]
  assert loss_of(objective, batch) == loss_of(objective, changed)


def test_a_start_codon_is_translated_as_the_record_has_it():
  """GTG read as M: the residue comes from the record, not from its bases."""
  objective = pretrain(TINY, forward=ALL_HIDDEN, translation=1.0)
  batch = make_batch()
  loss, _ = loss_of(objective, batch)
  batch['amino_acid'][:, 18:21] = central_dogma.METHIONINE
  assert loss_of(objective, batch)[0] != loss


def test_selenocysteine_is_no_target():
  objective = pretrain(
    TINY, forward=ALL_HIDDEN, masked_modelling=0.0, translation=1.0
  )
  batch = make_batch()
  for residue in 'UOX':
    batch['amino_acid'][:] = records.AMINO_ACIDS.index(residue)
    assert loss_of(objective, batch)[0] == 0


def test_translation_counts_hidden_codons_unless_told_otherwise():
  shown = MaskedForward(UnitMasking(rate=0.5, mask_share=0.0, random_share=0.0))
  arguments = {'masked_modelling': 0.0, 'translation': 1.0, 'forward': shown}
  batch = make_batch()
  loss, metrics = loss_of(pretrain(TINY, **arguments), batch, train=True)
  assert loss == 0
  assert np.isnan(metrics['Translation/accuracy_hidden'])
  assert metrics['Translation/accuracy_seen'] >= 0
  everywhere = pretrain(TINY, **arguments, translation_positions='all')
  assert loss_of(everywhere, batch, train=True)[0] > 0


def test_no_gradient_reaches_the_teacher_and_the_student_sees_masks():
  objective = pretrain(
    TINY,
    forward=ALL_HIDDEN,
    masked_modelling=0.0,
    distillation=1.0,
    teacher=FixedTeacher(),
  )
  model, aux = objective.init(jax.random.key(0))
  graph, params = nnx.split(model)
  batch = on_device(make_batch())

  def loss(teacher, sequence):
    changed = batch | {'teacher': teacher, 'sequence': sequence}
    merged = nnx.merge(graph, params)
    key = jax.random.key(1)
    return objective.loss(merged, aux, changed, key, train=False)[0]

  teacher = batch['teacher'].astype(jnp.float32)
  value, gradient = jax.value_and_grad(loss)(teacher, batch['sequence'])
  assert value > 0 and not gradient.any()
  other = jnp.where(batch['sequence'] < 4, 0, batch['sequence'])
  assert loss(teacher, other) == value


def test_n_is_never_a_target_and_an_empty_mask_gives_zero():
  batch = make_batch()
  batch['sequence'][:] = records.N
  loss, metrics = loss_of(pretrain(TINY), batch, train=True)
  assert loss == 0
  assert np.isnan(metrics['MaskedModelling/bits_per_base'])


def test_repeats_can_weigh_less():
  batch = make_batch()
  batch['soft_mask'] = batch['segment_ids'] == 2
  only_others = batch | {
    'sequence': np.where(batch['soft_mask'], records.N, batch['sequence'])
  }
  light = pretrain(TINY, forward=ALL_HIDDEN, soft_mask_weight=0.0)
  expected, _ = loss_of(pretrain(TINY, forward=ALL_HIDDEN), only_others)
  assert loss_of(light, batch)[0] == pytest.approx(expected, rel=1e-6)


def test_units_are_masked_whole_in_the_shares_asked_for():
  masking = UnitMasking(rate=0.2)
  sequence = jnp.zeros((64, 3_000), jnp.int32)
  segment_ids = jnp.ones((64, 3_000), jnp.int32).at[:, 2_400:].set(0)
  corrupted, is_selected = masking(
    sequence, segment_ids, jax.random.key(0), train=True
  )
  units = np.asarray(is_selected).reshape(64, 1_000, 3)
  assert (units.all(-1) == units.any(-1)).all()
  assert not units[:, 800:].any()
  selected = np.asarray(corrupted)[np.asarray(is_selected)]
  assert abs(units[:, :800].mean() - 0.2) < 0.01
  assert abs((selected == MASK).mean() - 0.8) < 0.02
  # A tenth is random, a quarter of which equals the A that stood there.
  assert abs((selected == 0).mean() - (0.1 + 0.1 / 4)) < 0.02
  assert (np.asarray(corrupted)[~np.asarray(is_selected)] == 0).all()


def test_evaluation_shows_no_selected_unit():
  masking = UnitMasking()
  sequence = jnp.zeros((8, 3_000), jnp.int32)
  corrupted, is_selected = masking(
    sequence, jnp.ones_like(sequence), jax.random.key(0), train=False
  )
  assert (np.asarray(corrupted == MASK) == np.asarray(is_selected)).all()


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'distillation': 1.0}, 'distillation needs a teacher'),
    ({'masked_modelling': 0.0}, 'at least one part'),
  ],
)
def test_what_does_not_fit_together_is_refused(options, message):
  with pytest.raises(ValueError, match=message):
    pretrain(TINY, **options)


def test_long_words_cannot_be_translated():
  model = dataclasses.replace(TINY, tokenizer=Lookup(6))
  with pytest.raises(ValueError, match='units of a codon or less, not of 6'):
    pretrain(model, translation=1.0)
