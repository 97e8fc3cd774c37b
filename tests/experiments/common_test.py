"""Objects named by string: checked without an import, then built."""

import pytest

from experiments import common

TOY = 'tests.backbone.train.toy:Toy'


def test_nested_objects_are_built_and_lists_become_tuples():
  built = common.build(
    {
      'name': 'backbone.train.objective:Sum',
      'parts': [{'name': TOY, 'width': 4}, {'name': TOY}],
      'weights': [1.0, 0.5],
    },
    'config.objective',
  )
  assert [part.width for part in built.parts] == [4, 8]
  assert built.weights == (1.0, 0.5)
  hash(built)


def test_keys_that_are_filled_in_later_count():
  value = {'name': 'backbone.train.loop:Run'}
  with pytest.raises(common.ConfigError, match='Run needs steps'):
    common.check(value, 'config.train')
  common.check(value, 'config.train', filled_in=('steps',))
  assert common.build(value, 'config.train', steps=3).steps == 3


@pytest.mark.parametrize(
  'value, message',
  [
    ({'name': TOY, 'widht': 4}, r'c\.widht: .*Toy \(did you mean width\?\)'),
    ({'name': 'tests.backbone.train.toy:Tooy'}, 'no Tooy .*Toy'),
    ({'name': 'nowhere.at_all:X'}, 'no module nowhere.at_all'),
    ({'part': [{'name': TOY, 'x': 1}]}, r'c\.part\[0\]\.x: unknown key'),
    (
      {'name': 'backbone.sharding:make_mesh', 'modle': 2},
      'did you mean model',
    ),
    (
      {'name': 'tests.backbone.train.toy:Dense', 'rows': 2, 'columns': 2},
      'needs rngs',
    ),
  ],
)
def test_mistakes_are_named_with_the_nearest_key(value, message):
  with pytest.raises(common.ConfigError, match=message) as caught:
    common.check(value, 'c')
  assert '\n' not in str(caught.value)


def test_a_constructor_that_refuses_says_where():
  value = {'name': 'backbone.train.optim:AdamW', 'clip_norm': -1.0}
  with pytest.raises(
    common.ConfigError, match=r'config.optimizer: .*clip_norm'
  ):
    common.build(value, 'config.optimizer')


def test_an_argument_of_an_experiment_is_checked():
  assert common.choose(None, ('smoke',)) == ''
  assert common.choose('smoke', ('smoke', 'cpu')) == 'smoke'
  with pytest.raises(common.ConfigError, match='did you mean smoke'):
    common.choose('smok', ('smoke', 'cpu'))
