"""Packages and extras of multiomics-jax; no logic."""

import setuptools

setuptools.setup(
  name='multiomics-jax',
  version='0.1.0',
  description='Multi-omics pretraining in JAX: Life-Code, VQDNA and GTA.',
  python_requires='>=3.11',
  packages=setuptools.find_packages(
    include=[
      'backbone*',
      'data_pipelines*',
      'lifecode*',
      'vqdna*',
      'gta*',
      'experiments*',
    ]
  ),
  package_data={
    'backbone.kernels.attention': ['native/*'],
    'data_pipelines': ['*.json'],
  },
  install_requires=[
    'absl-py>=2.1',
    'array_record>=0.5',
    'biopython>=1.83',
    'einops>=0.8',
    'etils[epath]>=1.7',
    'flax>=0.12.8',
    'gffutils>=0.13',
    'grain>=0.2.18',
    'importlib_resources>=6.0',
    'jax>=0.10.2,<0.13',
    'jaxtyping>=0.3',
    'matplotlib>=3.8',
    'ml-collections>=1.0',
    'numpy>=1.26',
    'optax>=0.2.5',
    'orbax-checkpoint>=0.11.30',
    'safetensors>=0.4',
    'scikit-learn>=1.4',
    'scipy>=1.11',
    'tensorboardX>=2.6',
    'tensorflow-datasets>=4.9.9',
    'tqdm>=4.66',
  ],
  extras_require={
    'test': [
      'apache-beam>=2.60',
      'beartype>=0.18',
      'gcp-storage-emulator>=2024.8',
      'gcsfs>=2024.6',
      'hypothesis>=6.100',
      'pysam>=0.22',
      'pytest>=8.0',
      'pytest-xdist>=3.5',
      'ruff>=0.6',
    ],
    'parity': [
      'torch==2.13.0',
      'transformers>=4.44',
      'enformer-pytorch>=0.8',
      'pyfaidx>=0.8',
      'vector-quantize-pytorch>=1.14',
    ],
    'gcs': ['gcsfs>=2024.6'],
    'people': ['pysam>=0.22'],
    'beam': ['apache-beam>=2.60'],
    'tpu': ['jax[tpu]>=0.10.2,<0.13'],
    'gpu': ['jax[cuda12]>=0.10.2,<0.13'],
  },
)
