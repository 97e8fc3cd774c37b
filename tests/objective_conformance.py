"""What every objective must do; a test of one inherits `Conformance`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from backbone import sharding
from backbone.train import checkpoint, provenance
from backbone.train.optim import AdamW
from backbone.train.state import (
  abstract_state,
  make_create,
  make_step,
  run_keys,
  split_model,
  to_device,
)


def _moved(params, key, by=0.01):
  """The parameters, a little off their start."""
  leaves, structure = jax.tree.flatten(params)
  keys = jax.random.split(key, len(leaves))
  return structure.unflatten(
    leaf + by * jax.random.normal(key, leaf.shape, leaf.dtype)
    for leaf, key in zip(leaves, keys, strict=True)
  )


class Conformance:
  """Subclass, name it `Test…`, and give `objective` and `batch`.

  Attributes:
    overfit_steps: Steps in which one batch must be learnt.
    overfit_rate: Learning rate of those.
    overfit_fraction: The final loss over the first must be below this.
    frozen: Parameter paths that may have no gradient.
    relative_tolerance: Of the sharded loss and parameters; sqrt(terms) × eps of
      the compute dtype is a good start.
  """

  overfit_steps = 60
  overfit_rate = 0.01
  overfit_fraction = 0.8
  frozen: tuple[str, ...] = ()
  relative_tolerance = 2e-5

  def objective(self):
    """A small one."""
    raise NotImplementedError

  def batch(self) -> dict[str, np.ndarray]:
    """Eight rows or a multiple, some padding; numpy."""
    raise NotImplementedError

  @functools.cached_property
  def _made(self):
    objective = self.objective()
    model, aux = objective.init(jax.random.key(0))
    graphdef, params = split_model(model)
    return objective, graphdef, params, aux

  def _loss(self, batch, *, train=False, seed=1):
    objective, graphdef, params, aux = self._made

    @jax.jit
    def loss(params, aux, batch):
      model = nnx.merge(graphdef, params)
      key = jax.random.key(seed)
      return objective.loss(model, aux, batch, key, train=train)

    return loss(params, aux, jax.tree.map(jnp.asarray, batch))

  def test_loss_is_finite_and_metrics_are_weighed(self):
    loss, (_, metrics) = self._loss(self.batch(), train=True)
    assert np.isfinite(loss) and loss.shape == ()
    for name, (total, weight) in metrics.items():
      assert np.isfinite(total), name
      assert weight >= 0, name

  def test_aux_keeps_its_structure(self):
    aux = self._made[3]
    _, (after, _) = self._loss(self.batch(), train=True)
    assert jax.tree.structure(aux) == jax.tree.structure(after)
    for one, other in zip(
      jax.tree.leaves(aux), jax.tree.leaves(after), strict=True
    ):
      assert (one.shape, one.dtype) == (other.shape, other.dtype)

  def test_every_parameter_gets_a_gradient(self):
    objective, graphdef, params, aux = self._made
    batch = jax.tree.map(jnp.asarray, self.batch())
    # A layer that starts at zero hides what is before it.
    params = _moved(params, jax.random.key(2))

    @jax.jit
    def gradient(params):
      def loss(params):
        model = nnx.merge(graphdef, params)
        key = jax.random.key(1)
        return objective.loss(model, aux, batch, key, train=True)[0]

      return jax.grad(loss)(params)

    without = {
      jax.tree_util.keystr(path, simple=True, separator='/')
      for path, g in jax.tree.leaves_with_path(gradient(params))
      if not np.any(np.asarray(g))
    }
    assert without == set(self.frozen)

  def test_what_is_in_the_padding_does_not_matter(self):
    batch = self.batch()
    is_padding = batch['segment_ids'] == 0
    assert is_padding.any(), 'the batch of this test needs padding'
    other = dict(batch)
    other['sequence'] = np.where(is_padding, 2, batch['sequence'])
    other['sequence'] = other['sequence'].astype(batch['sequence'].dtype)
    one, two = self._loss(batch)[0], self._loss(other)[0]
    np.testing.assert_allclose(one, two, rtol=1e-6)

  def test_evaluation_is_deterministic(self):
    one, two = self._loss(self.batch()), self._loss(self.batch())
    jax.tree.map(np.testing.assert_array_equal, one[0], two[0])
    jax.tree.map(np.testing.assert_array_equal, one[1][1], two[1][1])

  def _transform(self, steps):
    optimizer = AdamW(learning_rate=self.overfit_rate, warmup_steps=1)
    return optimizer.transform(max(steps, 4))

  def _trained(self, mesh, steps):
    """Losses of `steps` steps on one batch, the state, the jitted step."""
    objective, transform = self.objective(), self._transform(steps)
    init_key, step_key, _ = run_keys(0)
    with jax.set_mesh(mesh):
      graphdef, abstract = abstract_state(objective, transform, mesh=mesh)
      state = make_create(objective, transform, abstract)(init_key)
      step = make_step(
        objective, transform, graphdef, abstract, step_key, mesh=mesh
      )
      batch, losses = to_device(self.batch(), mesh), []
      for _ in range(steps):
        state, metrics = step(state, batch)
        total, weight = metrics['loss']
        losses.append(float(total) / float(weight))
    return losses, state, step

  def test_one_batch_is_learnt_and_compiled_once(self):
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    losses, state, step = self._trained(mesh, self.overfit_steps)
    assert np.mean(losses[-5:]) < self.overfit_fraction * np.mean(losses[:5])
    assert step._cache_size() == 1
    assert int(state.step) == self.overfit_steps

  def test_sharded_is_as_on_one_device(self):
    one_mesh = sharding.make_mesh(devices=jax.devices()[:1])
    many_mesh = sharding.make_mesh(data=4, model=2)
    one, one_state, _ = self._trained(one_mesh, 3)
    many, many_state, step = self._trained(many_mesh, 3)
    assert step._cache_size() == 1
    np.testing.assert_allclose(one, many, rtol=self.relative_tolerance)
    # Adam divides by the root of the second moment, so a gradient that is all
    # rounding may move its parameter by a whole step; most may not.
    for a, b in zip(
      jax.tree.leaves(one_state.params),
      jax.tree.leaves(many_state.params),
      strict=True,
    ):
      assert jnp.abs(np.asarray(a) - np.asarray(b)).max() <= (
        3 * self.overfit_rate
      )

  def test_a_checkpoint_moves_between_meshes(self, tmp_path):
    """From 4 x 2 devices to one and back, bit for bit."""
    one_mesh = sharding.make_mesh(devices=jax.devices()[:1])
    many_mesh = sharding.make_mesh(data=4, model=2)
    _, state, _ = self._trained(many_mesh, 2)
    identity = provenance.Identity(vocabulary='v', data_manifest='d', seed=0)
    for name, mesh in (('one', one_mesh), ('many', many_mesh)):
      _, abstract = abstract_state(
        self.objective(), self._transform(2), mesh=mesh
      )
      checkpoints = checkpoint.Checkpoints(
        tmp_path / name, identity, config={}, keep=1
      )
      checkpoints.save(state, 2, {})
      checkpoints.wait()
      restored = checkpoints.restore(abstract).state
      checkpoints.close()
      for saved, read, wanted in zip(
        *map(jax.tree.leaves, (state, restored, abstract)), strict=True
      ):
        np.testing.assert_array_equal(np.asarray(saved), np.asarray(read))
        assert read.sharding == wanted.sharding
      state = restored
