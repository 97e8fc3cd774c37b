"""Fine-tuning of an encoder on a task: all of it, adapters, or a head alone.

Epoch and learning rate are chosen on validation; test is scored once.
"""

import dataclasses
import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from tqdm import tqdm

from backbone.array_types import PyTree
from backbone.downstream import heads, lora, metrics
from backbone.downstream.batches import Batches
from backbone.downstream.finetune_config import FineTuneConfig
from backbone.downstream.network import Network, follow, predict, update
from backbone.downstream.probe import Encode
from backbone.downstream.targets import make_targets
from backbone.train.state import TrainingError, split_model
from data_pipelines import records
from data_pipelines.errors import InputError
from data_pipelines.tasks import Task

_VALUE_ONLY = metrics.Bootstrap(num_resamples=1)


@dataclasses.dataclass(frozen=True)
class Epoch:
  """What was seen after a pass over train.

  Attributes:
    learning_rate: Peak.
    epoch: From 1.
    train_loss: Mean over the batches of the epoch.
    loss: Mean over what is labelled in validation.
    value: The task's metric on validation.
  """

  learning_rate: float
  epoch: int
  train_loss: float
  loss: float
  value: float

  @property
  def rank(self) -> tuple[float, float]:
    """Greater is better; the loss decides between equal scores."""
    return self.value, -self.loss


@dataclasses.dataclass(frozen=True)
class FineTuned:
  """An encoder with its head, of the best epoch.

  Attributes:
    network: Their static half.
    trained: 'head', and by mode 'model' or 'adapters'.
    frozen: The encoder's parameters that were not trained, as they were.
    history: Every epoch of every learning rate.
    best: The one that `trained` is of.
  """

  network: Network
  trained: PyTree
  frozen: PyTree
  history: tuple[Epoch, ...]
  best: Epoch

  @property
  def model(self) -> nnx.Module:
    """The encoder, adapters merged."""
    params = self.network.params(self.trained, self.frozen)
    return nnx.merge(self.network.graph, params)


class _Fit:
  """One task and one encoder, to be fitted and scored."""

  def __init__(
    self,
    task: Task,
    encode: Encode,
    model: nnx.Module,
    config: FineTuneConfig,
  ):
    if config.both_strands:
      _check_strands(task)
    self._task = task
    self._config = config
    self._targets = make_targets(task)
    read = getattr(encode, 'read', None)
    self._batches = Batches(
      task,
      self._targets.values,
      config.batches,
      both_strands=config.both_strands,
      read=read and functools.partial(read, model),
    )
    graph, self._params = split_model(model)
    self._frozen = {} if config.mode == 'full' else self._params
    self._network = Network(
      encode=encode,
      graph=graph,
      lora=config.lora,
      pooling=task.pooling,
      is_pair=task.partners is not None,
      has_maximum=config.has_maximum,
    )

  def __call__(self) -> FineTuned:
    """The best epoch of the best learning rate."""
    best, kept, history = None, None, []
    for learning_rate in self._config.learning_rates:
      for epoch, trained in self._epochs(learning_rate):
        history.append(epoch)
        if best is None or epoch.rank > best.rank:
          # The next update writes over it.
          best, kept = epoch, jax.tree.map(jnp.copy, trained)
    return FineTuned(self._network, kept, self._frozen, tuple(history), best)

  def score(
    self, trained: PyTree, split: str, bootstrap: metrics.Bootstrap
  ) -> tuple[metrics.Score, float]:
    """The metric on all of a split, and the mean loss."""
    found = [
      predict(
        self._network,
        trained,
        self._frozen,
        self._batches.of(split, strand=strand),
      )
      for strand in range(self._batches.num_strands)
    ]
    outputs, losses = (np.mean([f[i] for f in found], axis=0) for i in (0, 1))
    example = found[0][2]
    groups = self._task.groups
    score = metrics.score(
      self._task.metric,
      np.concatenate([self._targets.truth[i] for i in np.unique(example)]),
      self._targets.predicted(outputs),
      bootstrap,
      example if groups is None else np.asarray(groups)[example],
    )
    return score, float(losses.mean())

  def _initial(self) -> PyTree:
    """Parameters to be trained, apart from those of the given model."""
    head_key, adapter_key = jax.random.split(jax.random.key(self._config.seed))
    _, batch = next(self._batches.of('train'))
    call = jax.tree.map(lambda x: x[0], batch)
    features = jax.eval_shape(self._network.features, self._params, call)
    trained = {
      'head': heads.init(
        features.shape[-1], self._targets.num_outputs, head_key
      )
    }
    if self._config.mode == 'full':
      trained['model'] = jax.tree.map(jnp.copy, self._params)
    if self._config.mode == 'lora':
      trained['adapters'] = lora.init(
        self._params, self._config.lora, adapter_key
      )
    return trained

  def _epochs(self, learning_rate: float) -> Iterator[tuple[Epoch, PyTree]]:
    """Epochs until patience ends, each with what is trained so far."""
    config = self._config
    per_epoch = self._batches.num('train')
    epochs = max(config.epochs, -(-config.min_updates // per_epoch))
    steps = epochs * per_epoch
    optimizer = config.optimizer(steps)
    trained = self._initial()
    average = jax.tree.map(jnp.copy, trained) if config.average else None
    opt_state = optimizer.transform(steps).init(trained)
    num_updates = 0
    description = f'{self._task.name} {config.mode} {learning_rate:g}'
    best, since_best = None, 0
    with tqdm(total=steps, desc=description, disable=None) as progress:
      for number in range(1, epochs + 1):
        losses = []
        rng = np.random.default_rng([config.seed, number])
        for _, batch in self._batches.of('train', rng):
          trained, opt_state, loss = update(
            self._network,
            optimizer,
            steps,
            trained,
            opt_state,
            self._frozen,
            batch,
            learning_rate,
          )
          losses.append(loss)
          progress.update()
          if config.average:
            num_updates += 1
            # The first updates would weigh too much for too long.
            decay = min(config.average, num_updates / (num_updates + 9))
            average = follow(average, trained, decay)
        scored = average if config.average else trained
        epoch = self._epoch(scored, learning_rate, number, losses)
        progress.set_postfix(epoch=number, validation=f'{epoch.value:.3f}')
        yield epoch, scored
        if best is None or epoch.rank > best:
          best, since_best = epoch.rank, 0
        else:
          since_best += 1
        is_early = number * per_epoch < config.min_updates
        if since_best >= config.patience and not is_early:
          return

  def _epoch(
    self, trained: PyTree, learning_rate: float, number: int, losses: list
  ) -> Epoch:
    score, loss = self.score(trained, 'validation', _VALUE_ONLY)
    train_loss = float(np.mean(jax.device_get(losses)))
    if not np.isfinite(train_loss + loss):
      raise TrainingError(
        f'{self._task.name}: a loss of epoch {number} is not finite at '
        f'learning rate {learning_rate:g}; take a lower one'
      )
    return Epoch(learning_rate, number, train_loss, loss, score.value)


def _check_strands(task: Task) -> None:
  kinds = {task.kind}
  if task.partners is not None:
    kinds.add(task.partner_kind)
  if kinds != {records.GENOME} or task.pooling == 'unit':
    raise InputError(
      f'{task.name}: both_strands is of whole sequences of genomic DNA; set it '
      'to False'
    )


def fit(
  task: Task,
  encode: Encode,
  model: nnx.Module,
  config: FineTuneConfig | None = None,
) -> FineTuned:
  """Fits on train and chooses on validation; test is not looked at.

  `model` stays as it is.

  Raises:
    InputError: The task cannot be fitted (see `make_targets`).
    TrainingError: A loss was not finite.
  """
  return _Fit(task, encode, model, config or FineTuneConfig())()


def evaluate(
  task: Task,
  encode: Encode,
  model: nnx.Module,
  config: FineTuneConfig | None = None,
) -> tuple[metrics.Score, FineTuned]:
  """The score on the whole of test of what `fit` gives, and that."""
  config = config or FineTuneConfig()
  fitted = _Fit(task, encode, model, config)
  tuned = fitted()
  score, _ = fitted.score(tuned.trained, 'test', config.bootstrap)
  return score, tuned
