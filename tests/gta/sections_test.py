"""Which sections matter, and pages of runs."""

import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from backbone import sharding
from backbone.train.evaluate import Context
from data_pipelines.errors import InputError
from data_pipelines.genes.dataset import GeneWindows
from data_pipelines.genes.folds import ChromosomeFold
from data_pipelines.genes.planted import PlantedEnhancers
from gta import sections
from gta.gene_pictures import GenePictures, weigh_words
from gta.model import Prediction
from gta.run_table import RunTable
from gta.sections import SectionHits
from tests.gta.objective_test import objective, windows

REACH, SECTION = 1_536, 48
PLANTED = PlantedEnhancers(
  num_genes=40, num_contigs=4, reach=REACH, nearest=200, farthest=1_400
)


def _data():
  return GeneWindows(
    genes=PLANTED,
    split=ChromosomeFold(num_folds=4),
    before=REACH,
    after=REACH,
    batch_size=4,
  )


def _context(given, data, folder):
  """Of a model as it is drawn."""
  model, aux = given.init(jax.random.key(0))
  return Context(
    data=data,
    objective=given,
    model=model,
    aux=jax.tree.map(jnp.asarray, aux),
    random_model=model,
    random_aux=aux,
    mesh=sharding.make_mesh(devices=jax.devices()[:1]),
    seed=0,
    workdir=folder,
  )


class Counting:
  """Predicts how many bases of its windows are G, but for the first section."""

  model = types.SimpleNamespace(section_bases=SECTION)

  def predict(self, model, aux, batch):
    given = batch.get('bases')
    bases = jax.nn.one_hot(batch['sequence'], 4) if given is None else given
    rows, length, _ = bases.shape
    per_section = bases[..., 2].reshape(rows, length // SECTION, SECTION)
    counted = per_section.sum(-1).at[:, 0].set(0)
    return Prediction(counted.sum(-1), counted, None)

  def rollout(self, model, aux, batch):
    return None


def test_three_methods_say_what_a_known_model_reads():
  batch = jax.tree.map(jnp.asarray, _data().batch(np.arange(4)))
  found = sections.explain(Counting(), nnx.Module(), (), batch)
  is_g = np.asarray(batch['sequence']) == 2
  wanted = is_g.reshape(4, -1, SECTION).sum(-1)
  wanted[:, 0] = 0
  for method in ('section_weights', 'gradient', 'occlusion'):
    np.testing.assert_allclose(found[method], wanted, atol=1e-3)


def test_the_sections_of_an_enhancer_are_where_it_is():
  data = _data()
  for gene in data.found.genes:
    found = sections._sections_of(data, gene, SECTION)
    assert found.any() == bool(gene.enhancers)
    for start, end in gene.enhancers:
      middle = gene.strand * ((start + end) // 2 - gene.anchor) + REACH
      assert found[middle // SECTION]


def test_hits_of_a_model_beside_chance(tmp_path):
  given = objective(section_bases=SECTION, before=REACH)
  given = type(given)(given.model, given.language, 2 * REACH)
  context = _context(given, _data(), tmp_path)
  rows = {row['column']: row for row in SectionHits().rows(context)}
  assert set(rows) == {
    'section_weights',
    'gradient',
    'occlusion',
    'rollout',
    'most_bound',
    'distance_matched',
    'chance',
  }
  for row in rows.values():
    assert 0 <= row['value'] <= 1
  assert 0 < rows['chance']['value'] < 0.06


def test_pictures_show_sections_and_words(tmp_path):
  data = windows(batch_size=2)
  given = objective()
  context = _context(given, data, tmp_path)
  assert GenePictures(number=3).rows(context) == []
  found = sorted((tmp_path / 'pictures').iterdir())
  assert len(found) == 3
  assert all(path.read_bytes().startswith(b'\x89PNG') for path in found)


def test_a_rollout_is_all_of_the_head_but_for_read_outs_and_prompt():
  """The same, with matrices of whole layers, and nothing beyond the contig."""
  given = objective()
  model, aux = given.init(jax.random.key(0))
  aux = jax.tree.map(jnp.asarray, aux)
  batch = jax.tree.map(jnp.asarray, windows(before=48).batch(np.arange(6)))
  for name in ('prompt', 'is_prompt'):
    batch.pop(name)
  found = np.asarray(given.rollout(model, aux, batch))
  language = given.language.merge(aux['frozen'])
  x, is_token, *_ = model._tokens(batch, aux['frozen']['table'])
  looks = np.asarray(language.watch(x, is_token))
  seen = np.triu(np.ones(looks.shape[-2:], bool), 1)
  assert not looks[:, :, seen].any()
  hidden = language(x, is_token)[0]
  _, weights = model._head(model.norm(hidden), is_token)
  whole = np.eye(x.shape[1])
  for layer in looks:
    whole = (layer + np.eye(x.shape[1])) / 2 @ whole
  wanted = np.einsum('bt,bts->bs', weights, whole)
  np.testing.assert_allclose(wanted.sum(-1), 1, rtol=1e-5)
  number = found.shape[1]
  np.testing.assert_allclose(found, wanted[:, :number], rtol=1e-4, atol=1e-6)
  assert not found[~np.asarray(is_token)[:, :number]].any()


def test_words_of_padding_weigh_nothing():
  given = objective()
  model, aux = given.init(jax.random.key(0))
  aux = jax.tree.map(jnp.asarray, aux)
  batch = jax.tree.map(jnp.asarray, windows().batch(np.arange(4)))
  weights = np.asarray(weigh_words(given, model, aux, batch))
  is_prompt = np.asarray(batch['is_prompt'])
  assert weights.shape == is_prompt.shape
  assert not weights[~is_prompt].any()
  assert np.abs(weights[is_prompt]).min() > 0


def _row(column, value, **more):
  row = {
    'table': 't',
    'task': 'expression',
    'split': 'test',
    'metric': 'pearson',
    'column': column,
    'seed': 0,
    'value': value,
    'low': value - 0.1,
    'high': value + 0.1,
  }
  return {**row, **more}


def test_a_page_has_a_column_a_run_and_what_they_share(tmp_path):
  for name, value in (('near', 0.2), ('far', 0.8)):
    rows = [
      _row('trained', value),
      _row('trained', 0.0, split='validation'),
      _row('chance', 0.1, low=None, high=None),
    ]
    (tmp_path / name).mkdir()
    (tmp_path / name / 'results.json').write_text(json.dumps(rows))
  page = RunTable(
    title='Contexts',
    note='A note.',
    runs={'genes': {name: str(tmp_path / name) for name in ('near', 'far')}},
    shared={'genes': ('chance',)},
  )
  text = page.write(tmp_path / 'out', 'head')
  assert '| data | task | near | chance | far |' in text
  assert (
    '| genes | expression, pearson | 0.200 [0.100, 0.300] | 0.100 | '
    '0.800 [0.700, 0.900] |'
  ) in text
  picture = (tmp_path / 'out' / 'table.png').read_bytes()
  assert picture.startswith(b'\x89PNG')
  (tmp_path / 'far' / 'results.json').unlink()
  with pytest.raises(InputError, match='no results of a run'):
    page.write(tmp_path / 'out', 'head')
