"""A small protein language model of our own: a stand-in for ESM-2.

Where no published weights are at hand, a masked language model of the proteins
and translated CDS of the same data sets teaches instead. It shows that
distilling works, not what a published teacher would give; its label says so.

  python -m experiments.run --config=experiments/lifecode/protein_lm.py:cpu \
      --config.data.path=DIR --workdir=W
  python -m lifecode.teacher.protein_lm --workdir=W --out=FOLDER
"""

import dataclasses
import json
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from absl import flags

from backbone.array_types import (
  Array,
  Batch,
  Bool,
  Float,
  Int,
  Mean,
  PRNGKey,
  PyTree,
  Scalar,
)
from backbone.train import checkpoint, provenance
from data_pipelines.errors import InputError
from data_pipelines.records import AMINO_ACIDS
from lifecode.teacher import weights
from lifecode.teacher.esm2 import ESM2, MASK, VOCABULARY, ESM2Config
from lifecode.teacher.proteins import has_residue, pack

# Our choice: a million parameters, minutes on a laptop.
STAND_IN = ESM2Config(num_layers=4, width=128, num_heads=4)

_STANDARD = np.array([VOCABULARY.index(a) for a in AMINO_ACIDS[:20]])
# X stands for no residue in particular, so it is never asked for.
_NO_TARGET = ('<cls>', '<pad>', '<eos>', 'X')
_USAGE = (
  'usage: python -m lifecode.teacher.protein_lm --workdir=RUN --out=FOLDER'
)


@dataclasses.dataclass(frozen=True)
class ProteinMasked:
  """Predicts masked residues of the proteins that a packed batch codes for.

  Attributes:
    model: Sizes of the encoder.
    max_proteins: At most so many in a row; see `proteins.pack`.
    rate: Share of residues to predict.
    mask_share: Of those, replaced by the mask.
    random_share: Of those, replaced by one of the 20 amino acids. The rest is
      shown as it is.
  """

  model: ESM2Config = STAND_IN
  max_proteins: int = 32
  rate: float = 0.15
  mask_share: float = 0.8
  random_share: float = 0.1

  vocabulary = VOCABULARY

  def __post_init__(self):
    if not 0 < self.rate <= 1:
      raise ValueError(f'masking rate must be in (0, 1], not {self.rate}')
    if not 0 <= self.mask_share + self.random_share <= 1:
      raise ValueError('mask_share + random_share must be at most 1')

  def init(self, key: PRNGKey) -> tuple[ESM2, tuple]:
    """A model with new weights; no state outside the gradient."""
    return ESM2(self.model, key=key), ()

  def loss(
    self,
    model: ESM2,
    aux: tuple,
    batch: Batch,
    key: PRNGKey,
    *,
    train: bool,
  ) -> tuple[Scalar, tuple[tuple, dict[str, Mean]]]:
    """Mean cross-entropy of the selected residues, in nats."""
    surprise, is_right, is_target = self.surprise(
      model, batch, key, train=train
    )
    total = jnp.sum(surprise)
    num_targets = jnp.sum(is_target, dtype=jnp.float32)
    is_residue = has_residue(batch)
    is_left_out = is_residue & ~pack(batch, self.max_proteins).is_packed
    return total / jnp.maximum(num_targets, 1), (
      aux,
      {
        'loss': Mean(total, num_targets),
        # Perplexity is 2 to the power of these.
        'bits_per_residue': Mean(total / np.log(2.0), num_targets),
        'accuracy': Mean(jnp.sum(is_right, dtype=jnp.float32), num_targets),
        'residues_left_out': Mean(
          jnp.sum(is_left_out, dtype=jnp.float32),
          jnp.sum(is_residue, dtype=jnp.float32),
        ),
      },
    )

  def surprise(
    self, model: ESM2, batch: Batch, key: PRNGKey, *, train: bool
  ) -> tuple[Float[Array, 'B C'], Bool[Array, 'B C'], Bool[Array, 'B C']]:
    """-ln p of each selected residue, whether it was the best guess, where."""
    rows = pack(batch, self.max_proteins)
    corrupted, is_selected = self._corrupt(rows.tokens, key, train=train)
    encoded = model.encode(corrupted, rows.segment_ids, rows.positions)
    logits = model.logits(encoded)
    truth = jax.nn.one_hot(rows.tokens, len(VOCABULARY))
    surprise = -jnp.sum(jax.nn.log_softmax(logits) * truth, axis=-1)
    is_right = is_selected & (jnp.argmax(logits, axis=-1) == rows.tokens)
    return is_selected * surprise, is_right, is_selected

  def _corrupt(
    self, tokens: Int[Array, 'B C'], key: PRNGKey, *, train: bool
  ) -> tuple[Int[Array, 'B C'], Bool[Array, 'B C']]:
    """With train=False every selected residue is masked, as none is copied."""
    select_key, fate_key, residue_key = jax.random.split(key, 3)
    is_selected = jax.random.bernoulli(select_key, self.rate, tokens.shape)
    for token in _NO_TARGET:
      is_selected &= tokens != VOCABULARY.index(token)
    fate = jax.random.uniform(fate_key, tokens.shape)
    is_masked = is_selected & ((fate < self.mask_share) | (not train))
    is_random = is_selected & ~is_masked
    is_random &= fate < self.mask_share + self.random_share
    drawn = jax.random.choice(residue_key, _STANDARD, tokens.shape)
    shown = jnp.where(is_random, drawn, tokens)
    return jnp.where(is_masked, MASK, shown), is_selected


def export(workdir: pathlib.Path, out: pathlib.Path) -> str:
  """Writes the newest checkpoint of a run for `weights.load`; its label.

  Raises:
    InputError: No checkpoint of `ProteinMasked` there, it is damaged, or `out`
      exists.
  """
  directory = workdir / 'checkpoints'
  steps = [int(p.name) for p in directory.glob('*') if p.name.isdecimal()]
  if not steps:
    raise InputError(f'{directory}: no checkpoint; give the --workdir of a run')
  weights.save(_read_params(directory, max(steps)), out, is_stand_in=True)
  return weights.read_label(out)


def _read_params(directory: pathlib.Path, step: int) -> PyTree:
  where = directory / str(step)
  try:
    metadata = checkpoint.read_metadata(directory, step)
    if metadata['identity']['vocabulary'] != provenance.hash_text(VOCABULARY):
      raise InputError(f'{where}: not a model that ProteinMasked trained')
    params = _restore_params(where.absolute() / 'state')
  except InputError:
    raise
  except (OSError, ValueError) as error:
    reason = str(error).partition('\n')[0]
    raise InputError(f'{where}: cannot be read ({reason})') from error
  # The parameters come first in a state, and in its checksums.
  sums = provenance.checksum(jax.tree.map(jnp.asarray, params))
  found = [int(c) for c in sums]
  if found != metadata['checksum'][: len(found)]:
    raise InputError(f'{where}: damaged, its checksum is wrong')
  return params


def _restore_params(path: pathlib.Path) -> PyTree:
  """As numpy arrays: the devices that they were on may not be here."""
  handler = ocp.PyTreeCheckpointHandler()
  wanted = {'params': handler.metadata(path).tree['params']}
  as_numpy = ocp.RestoreArgs(restore_type=np.ndarray)
  arguments = ocp.args.PyTreeRestore(
    item=jax.tree.map(lambda x: np.empty(x.shape, x.dtype), wanted),
    restore_args=jax.tree.map(lambda _: as_numpy, wanted),
    partial_restore=True,
  )
  restored = handler.restore(path, args=arguments)
  handler.close()
  return restored['params']


def main(arguments: list[str]) -> int:
  """Runs the command; returns 2 for what the user has to mend."""
  # Not the global flags: a caller may run the command twice in one process.
  values = flags.FlagValues()
  flags.DEFINE_string('workdir', '', 'Of the run.', flag_values=values)
  flags.DEFINE_string('out', '', 'Folder to write.', flag_values=values)
  try:
    rest = values(arguments)[1:]
    if rest or not (values.workdir and values.out):
      raise InputError(_USAGE)
    label = export(pathlib.Path(values.workdir), pathlib.Path(values.out))
  except (InputError, flags.Error, OSError) as error:
    print(f'error: {" ".join(str(error).split())}', file=sys.stderr)
    return 2
  print(json.dumps({'out': values.out, 'label': label}))
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv))
