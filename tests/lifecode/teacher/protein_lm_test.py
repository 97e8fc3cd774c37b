"""The stand-in teacher: it learns, leaves the run, and loads as a teacher."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from backbone.train.state import parameters_sha256
from data_pipelines import organism, records
from data_pipelines.errors import InputError
from lifecode.teacher import protein_lm, weights
from lifecode.teacher.esm2 import CLS, EOS, MASK, PAD, VOCABULARY, ESM2Config
from lifecode.teacher.features import Online
from lifecode.teacher.protein_lm import ProteinMasked
from tests.lifecode.teacher.features_test import make_batch, make_model, run
from tests.objective_conformance import Conformance

ROOT = pathlib.Path(__file__).resolve().parents[3]
TINY = ESM2Config(num_layers=2, width=32, num_heads=4)
SMALL = organism.OrganismConfig(
  train_chromosomes=(60_000,),
  validation_chromosomes=(30_000,),
  test_chromosomes=(30_000,),
  num_families=20,
  num_proteins=9,
)


class TestProteinMasked(Conformance):
  overfit_steps = 80

  def objective(self):
    return ProteinMasked(model=TINY, max_proteins=4, rate=0.5)

  def batch(self):
    rows = [('MKTAYIAKQR*', 4, 'MUWLXO*'), ('MPEPTIDE*', 'MLLA')] * 4
    batch = {name: np.asarray(x) for name, x in make_batch(rows).items()}
    sequence = np.full(batch['segment_ids'].shape, records.PAD, np.uint8)
    sequence[batch['segment_ids'] > 0] = records.A
    return batch | {'sequence': sequence}


@pytest.mark.parametrize('train', [True, False])
def test_residues_are_masked_in_the_shares_asked_for(train):
  """<cls>, <eos>, padding and X never are."""
  leucine, unknown = VOCABULARY.index('L'), VOCABULARY.index('X')
  tokens = np.full((64, 1_000), leucine)
  tokens[:, 0], tokens[:, 700], tokens[:, 701:] = CLS, EOS, PAD
  tokens[:, 10:20] = unknown
  corrupted, is_selected = (
    np.asarray(x)
    for x in ProteinMasked()._corrupt(
      jnp.asarray(tokens), jax.random.key(0), train=train
    )
  )
  assert (tokens[is_selected] == leucine).all()
  assert abs(is_selected[:, 20:700].mean() - 0.15) < 0.01
  assert (corrupted[~is_selected] == tokens[~is_selected]).all()
  found = corrupted[is_selected]
  assert abs((found == MASK).mean() - (0.8 if train else 1)) < 0.02
  # A tenth is random, one of twenty of which is what stood there.
  kept = (0.1 + 0.1 / 20) * train
  assert abs((found == leucine).mean() - kept) < 0.02
  letters = {VOCABULARY[token] for token in found} - {'<mask>'}
  assert letters == set(records.AMINO_ACIDS[:20]) if train else not letters


def test_a_batch_without_residues_has_no_loss():
  objective = ProteinMasked(model=TINY)
  model, aux = objective.init(jax.random.key(0))
  loss, (_, metrics) = jax.jit(
    lambda batch: objective.loss(
      model, aux, batch, jax.random.key(1), train=True
    )
  )(make_batch([(20,)]))
  assert float(loss) == 0
  assert all(float(mean.weight) == 0 for mean in metrics.values())


def test_saved_weights_are_read_back_bit_for_bit(tmp_path):
  params = make_model()
  weights.save(params, tmp_path / 'saved', is_stand_in=True)
  for one, two in zip(
    jax.tree.leaves(params),
    jax.tree.leaves(Online(str(tmp_path / 'saved')).init()),
    strict=True,
  ):
    np.testing.assert_array_equal(one, two)


def test_the_public_implementation_reads_what_is_saved(tmp_path):
  torch = pytest.importorskip('torch')
  transformers = pytest.importorskip('transformers')
  weights.save(make_model(), tmp_path / 'saved', is_stand_in=True)
  peer = transformers.EsmForMaskedLM.from_pretrained(tmp_path / 'saved').eval()
  protein = 'MKTAYIAKQR'
  tokens = [CLS, *map(VOCABULARY.index, protein), EOS]
  with torch.no_grad():
    output = peer(torch.tensor([tokens]), output_hidden_states=True)
  expected = output.hidden_states[-1][0, 1:-1].numpy()
  found, _ = run(Online(str(tmp_path / 'saved')), make_batch([(protein,)]))
  error = np.abs(found[0, : len(protein)] - expected).max()
  assert error <= 1e-5 * np.abs(expected).max()


@pytest.fixture(scope='module')
def smoke(tmp_path_factory):
  """The `:smoke` run on a small organism."""
  folder = tmp_path_factory.mktemp('smoke')
  organism.build(folder / 'data', SMALL)
  done = subprocess.run(
    [
      sys.executable,
      '-m',
      'experiments.run',
      '--config=experiments/lifecode/protein_lm.py:smoke',
      f'--config.data.path={folder / "data"}',
      f'--workdir={folder / "work"}',
    ],
    cwd=ROOT,
    env={**os.environ, 'XLA_FLAGS': '--xla_backend_optimization_level=0'},
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert done.returncode == 0, done.stderr
  return folder / 'work'


def test_perplexity_stands_beside_its_floor(smoke):
  rows = json.loads((smoke / 'results.json').read_text())
  scores = {row['column']: row for row in rows if row['task'] == 'organism/cds'}
  assert set(scores) == {'pretrained', 'random_weights', 'frequencies'}
  for row in scores.values():
    assert 1 < row['low'] <= row['value'] <= row['high']
  assert 10 < scores['frequencies']['value'] < 21
  assert scores['pretrained']['value'] < scores['random_weights']['value']


def test_a_run_is_exported_as_a_teacher(smoke, tmp_path, capsys):
  out = tmp_path / 'teacher'
  command = ['protein_lm', f'--workdir={smoke}', f'--out={out}']
  assert protein_lm.main(command) == 0
  teacher = Online(str(out))
  printed = json.loads(capsys.readouterr().out)
  assert printed['label'] == teacher.label
  assert teacher.label.startswith('stand-in protein LM (ours, ')
  assert json.loads((out / 'config.json').read_text())['stand_in'] is True
  summary = json.loads((smoke / 'finished.json').read_text())['summary']
  assert parameters_sha256(teacher.init()) == summary['parameters_sha256']
  assert protein_lm.main(command) == 2
  assert 'exists already' in capsys.readouterr().err


def test_damage_and_mistakes_are_named(smoke, tmp_path, capsys):
  with pytest.raises(InputError, match='no checkpoint'):
    protein_lm.export(tmp_path, tmp_path / 'out')
  work = shutil.copytree(smoke, tmp_path / 'work')
  # Every file of data: which of them holds the parameters, and not a state of
  # the optimiser that an export leaves alone, changes from run to run.
  for arrays in (work / 'checkpoints' / '12').rglob('d/*'):
    content = bytearray(arrays.read_bytes())
    for place in range(0, len(content), 1_000):
      content[place] ^= 1
    arrays.write_bytes(content)
  with pytest.raises(InputError, match=r'12: (damaged|cannot be read)'):
    protein_lm.export(work, tmp_path / 'out')
  assert not (tmp_path / 'out').exists()
  assert protein_lm.main(['protein_lm', f'--workdir={work}']) == 2
  assert 'usage' in capsys.readouterr().err
