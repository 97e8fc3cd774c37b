"""Tracks along windows (CAGE, DNase, RNA), in the format of Borzoi.

  python -m experiments.run --config=experiments/gta/tracks.py:cpu \
      --workdir=W --config.data.genomes.human.path=HUMAN \
      --config.data.genomes.mouse.path=MOUSE

Each folder has targets.txt, statistics.json and tfrecords; num_tracks is the
number of tracks that are read of both. One trunk learns both genomes, as
Enformer did. Trunks of about as many parameters, all trained from nothing
(sizes and settings ours):

  :cpu            Enformer's tower (doi:10.1038/s41592-021-01252-x), and our
                  hybrid backbone over its 640 vectors of 128 bases
  :cpu,enformer   the same tower, and Enformer's transformer

The table: python -m experiments.reproduce gta/tracks.
"""

from typing import Any

from ml_collections import ConfigDict

from experiments import common

_SIZES = ('cpu', 'smoke')
_FLANK, _TARGETS = 8_192, 65_536
# Of the ridge that is the baseline, and of what trunks read beside bases.
_SIZES_AROUND = (128, 512, 2_048, 8_192, 32_768)


def get_config(arg: str = 'cpu') -> ConfigDict:
  name, *options = arg.split(',')
  size = common.choose(name, _SIZES, 'cpu')
  options = [common.choose(option, ('enformer',)) for option in options]
  config = ConfigDict()
  config.title = f'GTA, tracks, {arg}'
  config.seed = 0
  windows = {
    'name': 'data_pipelines.tracks.borzoi:TrackWindows',
    'path': '',
    'assays': ('DNASE', 'CAGE'),
    'flank': _FLANK,
  }
  config.data = {
    'name': 'data_pipelines.tracks.species:Species',
    'genomes': {'human': windows, 'mouse': dict(windows)},
    'batch_size': 1,
    'seed': 0,
    'both_strands': True,
  }
  config.objective = {
    'name': 'gta.tracks:Tracks',
    'trunk': _enformer(num_layers=3) if options else _hybrid(),
    'num_tracks': 49,
    'composition': _SIZES_AROUND,
    'noise': 'normal',
  }
  config.optimizer = {
    'name': 'backbone.train.optim:AdamW',
    'learning_rate': 3e-4,
    'warmup_steps': 50,
    'weight_decay': 0.1,
  }
  config.train = {
    'steps': 800,
    'log_every': 20,
    'evaluate_every': 400,
    'evaluate_rows': 8,
    'checkpoint_every': 400,
    'bases_per_token': 1,
  }
  config.mesh = {'data': 1, 'seq': 1, 'model': 1}
  config.tables = {'tracks': {'name': 'gta.held_out_tracks:HeldOutTracks'}}
  if size == 'smoke':
    config.train.update(steps=2, log_every=1, evaluate_every=2, evaluate_rows=2)
    config.optimizer.warmup_steps = 1
  return config


def _enformer(num_layers: int) -> dict[str, Any]:
  return {
    'name': 'gta.tracks:EnformerTrunk',
    'config': {
      'name': 'gta.enformer:EnformerConfig',
      'num_bases': _TARGETS + 2 * _FLANK,
      'width': 128,
      'num_targets': 1,
      'tower': (64, 72, 88, 96, 112, 128),
      'num_layers': num_layers,
      'num_heads': 4,
      'key_width': 32,
      'num_position_features': 96,
    },
    'composition': _SIZES_AROUND,
  }


def _hybrid() -> dict[str, Any]:
  backbone = {
    'name': 'backbone.model:preset',
    'size': '1m',
    'pattern': ('delta', 'delta', 'local'),
    'hidden': 144,
  }
  return {**_enformer(num_layers=0), 'backbone': backbone}
