"""Features of residues at their codons: as of every protein run alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from backbone import sharding
from data_pipelines import central_dogma, records
from data_pipelines.errors import InputError
from lifecode.teacher import proteins, weights
from lifecode.teacher.esm2 import CLS, EOS, ESM2, PAD, VOCABULARY, ESM2Config
from lifecode.teacher.features import Online, Teacher, untaught_residues
from tests.tolerance import assert_close

CONFIG = ESM2Config(num_layers=2, width=32, num_heads=2)
WIDTH = CONFIG.width
# Segments of a row: a protein, or the number of units of a genome.
ROWS = (
  ('MKTAYIAKQR*', 7, 'MUWLXO*', 'A'),
  (20,),
  ('MLLA', 'MK*GG', 'MPEPTIDE*'),
)
UNITS = 28


def make_model(seed=0):
  """An ESM-2 with biases and norms that do something."""
  model = nnx.eval_shape(lambda: ESM2(CONFIG, key=jax.random.key(0)))
  params = nnx.to_pure_dict(nnx.state(model))
  leaves, structure = jax.tree.flatten(params)
  rng = np.random.default_rng(seed)
  leaves = [rng.normal(0.1, 0.2, x.shape).astype(np.float32) for x in leaves]
  return jax.tree.unflatten(structure, leaves)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  path = tmp_path_factory.mktemp('teacher') / 'weights'
  weights.save(make_model(), path, is_stand_in=True)
  return path


def make_batch(rows=ROWS, units=UNITS):
  """What of a packed batch a teacher reads."""
  amino_acid = np.full((len(rows), units), records.NO_RESIDUE, np.uint8)
  segment_ids = np.zeros((len(rows), units), np.int32)
  for row, segments in enumerate(rows):
    at = 0
    for number, segment in enumerate(segments, start=1):
      is_protein = isinstance(segment, str)
      length = len(segment) if is_protein else segment
      if is_protein:
        residues = central_dogma.encode_protein(segment)
        amino_acid[row, at : at + length] = residues
      segment_ids[row, at : at + length] = number
      at += length
  batch = {'amino_acid': amino_acid, 'segment_ids': segment_ids}
  return {name: jnp.asarray(x.repeat(3, axis=1)) for name, x in batch.items()}


@pytest.fixture(scope='module')
def alone(folder):
  """Of each protein of `ROWS`, unpacked: hidden states of its residues."""
  letters = [p for row in ROWS for p in row if isinstance(p, str)]
  letters = [protein.replace('*', '') for protein in letters]
  tokens = np.full((len(letters), UNITS), PAD)
  for row, protein in zip(tokens, letters, strict=True):
    known = [CLS, *map(VOCABULARY.index, protein), EOS]
    row[: len(known)] = known
  model = weights.load(folder)
  positions = np.broadcast_to(np.arange(UNITS), tokens.shape)
  hidden = jax.jit(model.hidden_states)(
    *map(jnp.asarray, (tokens, 1 * (tokens != PAD), positions))
  )
  return {
    protein: np.asarray(states[:, 1 : len(protein) + 1])
    for protein, states in zip(letters, hidden.swapaxes(0, 1), strict=True)
  }


@functools.cache
def jitted(teacher):
  return jax.jit(
    lambda params, batch: (
      teacher.features(params, batch),
      teacher.is_taught(batch),
    )
  )


def run(teacher, batch):
  return map(np.asarray, jitted(teacher)(teacher.init(), batch))


@pytest.mark.parametrize('layer', ['last', 1])
def test_equals_every_protein_run_alone(folder, alone, layer):
  """Stops and genomes are zero; selenocysteine is a residue."""
  teacher = Online(str(folder), max_proteins=3, layer=layer)
  assert isinstance(teacher, Teacher) and teacher.width == WIDTH
  found, is_taught = run(teacher, make_batch())
  expected, has_target = np.zeros_like(found), np.zeros_like(is_taught)
  for row, segments in enumerate(ROWS):
    at = 0
    for segment in segments:
      if isinstance(segment, str):
        kept = at + np.flatnonzero([letter != '*' for letter in segment])
        states = alone[segment.replace('*', '')]
        expected[row, kept] = states[-1 if layer == 'last' else layer]
        has_target[row, kept] = True
      at += len(segment) if isinstance(segment, str) else segment
  assert (is_taught == has_target).all()
  assert (found[~is_taught] == 0).all()
  assert_close(found, expected, dtype=jnp.float32, length=4 * WIDTH)


def test_a_genome_has_no_target(folder):
  teacher = Online(str(folder))
  found, is_taught = run(teacher, make_batch([(20,), (5, 6), ()]))
  assert not is_taught.any() and not found.any()
  assert np.isfinite(found).all()


def test_what_stands_in_the_padding_is_no_residue(folder):
  teacher = Online(str(folder))
  batch = make_batch()
  other = dict(batch)
  is_padding = batch['segment_ids'] == 0
  other['amino_acid'] = jnp.where(is_padding, 3, batch['amino_acid'])
  for one, two in zip(run(teacher, batch), run(teacher, other), strict=True):
    np.testing.assert_array_equal(one, two)


def test_proteins_beyond_the_number_in_a_row_are_counted(folder):
  teacher = Online(str(folder), max_proteins=2)
  batch = make_batch()
  whole = next(run(Online(str(folder)), batch)).copy()
  found, is_taught = run(teacher, batch)
  # The last protein of the first row and of the third.
  left_out = np.zeros_like(is_taught)
  left_out[0, 25], left_out[2, 9:17] = True, True
  assert (left_out & np.asarray(proteins.has_residue(batch))).sum() == 9
  assert not (is_taught & left_out).any()
  assert_close(
    found,
    np.where(is_taught[..., None], whole, 0),
    dtype=jnp.float32,
    length=99,
  )
  total, weight = untaught_residues(teacher, batch)
  assert (int(total), int(weight)) == (9, 9 + int(is_taught.sum()))


@pytest.mark.parametrize(('residues', 'is_short'), [(1_022, 1), (1_023, 0)])
def test_a_protein_longer_than_the_teacher_reads_has_no_target(
  residues, is_short
):
  batch = make_batch([('M' * residues + '*', 'MKL')], units=1_100)
  rows = jax.jit(proteins.pack, static_argnums=1)(batch, 4)
  taught = np.asarray(rows.is_packed[0])
  assert taught[:residues].all() == taught[:residues].any() == is_short
  assert taught[residues + 1 : residues + 4].all()
  # What is left out takes up no room, and what is in stands as it should.
  packed = ['M' * residues, 'MKL'] if is_short else ['MKL']
  tokens, positions = [], []
  for protein in packed:
    tokens += [CLS, *map(VOCABULARY.index, protein), EOS]
    positions += range(len(protein) + 2)
  num_tokens = int((rows.segment_ids[0] > 0).sum())
  assert rows.tokens[0, :num_tokens].tolist() == tokens
  assert rows.positions[0, :num_tokens].tolist() == positions


def test_no_gradient_reaches_the_teacher(folder):
  teacher = Online(str(folder))
  batch = make_batch()

  def loss(params):
    return jnp.square(teacher.features(params, batch)).sum()

  params = teacher.init()
  value, gradient = jax.jit(jax.value_and_grad(loss))(params)
  assert value > 0
  assert not any(np.any(g) for g in jax.tree.leaves(gradient))


def test_the_weights_are_born_on_any_mesh(folder):
  """As the trainer makes a state: shapes, then values from a jitted init."""
  teacher = Online(str(folder))
  expected = teacher.init()
  shapes = jax.eval_shape(teacher.init)
  mesh = sharding.make_mesh(data=4, model=2)
  with jax.set_mesh(mesh):
    place = jax.tree.map(lambda _: sharding.replicated(mesh), shapes)
    made = jax.jit(teacher.init, out_shardings=place)()
    batch = jax.tree.map(lambda x: jnp.tile(x[:2], (2, 1)), make_batch())
    batch = jax.device_put(batch, sharding.batch_sharding(mesh))
    features = jax.jit(teacher.features)(made, batch)
  jax.tree.map(np.testing.assert_array_equal, made, expected)
  alone, _ = run(teacher, jax.tree.map(jnp.asarray, jax.device_get(batch)))
  assert_close(features, alone, dtype=jnp.float32, length=4 * WIDTH)


def test_the_label_says_that_it_is_a_stand_in(folder, tmp_path):
  size = sum(x.size for x in jax.tree.leaves(make_model()))
  stand_in = f'stand-in protein LM (ours, {size:,} parameters)'
  assert Online(str(folder)).label == stand_in
  weights.save(make_model(), tmp_path / 'other', is_stand_in=False)
  assert Online(str(tmp_path / 'other')).label == f'ESM-2 ({size:,} parameters)'


def test_mistakes_are_named(folder, tmp_path):
  with pytest.raises(InputError, match=r'config\.json: cannot be read'):
    Online(str(tmp_path))
  with pytest.raises(InputError, match=r"layer=3: .* 'last' and 0 to 2"):
    Online(str(folder), layer=3)
  with pytest.raises(InputError, match='max_proteins=0'):
    Online(str(folder), max_proteins=0)
  with pytest.raises(InputError, match='exists already'):
    weights.save(make_model(), folder, is_stand_in=True)
