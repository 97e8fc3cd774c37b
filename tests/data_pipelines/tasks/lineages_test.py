"""Genomes with clades: what is joined, what is left out, what is refused."""

import numpy as np
import pytest

from data_pipelines.errors import InputError
from data_pipelines.tasks import lineages


def files(tmp_path, fasta, clades, metadata):
  paths = []
  for name, text in (('f', fasta), ('c', clades), ('m', metadata)):
    paths.append(tmp_path / name)
    paths[-1].write_text(text)
  return paths


FASTA = '>a\nACGT\n>b\nACGA\n>c\nACGT\n>d\nTTTT\n'
CLADES = 'strain\tnextstrain_clade_by_rule\na\t1\nb\t2\nc\t1\nd\tNone\n'
METADATA = 'strain\tdate\tcountry\n' + ''.join(
  f'{strain}\t2020-01-0{day}\tX\n' for day, strain in enumerate('abcd', 1)
)


def test_equal_genomes_and_those_without_a_clade_are_left_out(tmp_path):
  found = lineages.read(*files(tmp_path, FASTA, CLADES, METADATA))
  assert found.strains == ['a', 'b']
  assert found.clades.tolist() == ['1', '2']
  assert found.dates.tolist() == ['2020-01-01', '2020-01-02']
  np.testing.assert_array_equal(found.genomes[1], [0, 1, 2, 0])
  assert found.notes == (
    '1 genomes without a clade',
    '1 genomes equal to one before',
  )


def test_a_strain_without_a_row_is_named(tmp_path):
  paths = files(tmp_path, FASTA, CLADES.replace('b\t2\n', ''), METADATA)
  with pytest.raises(InputError, match=r"strain 'b' has no row in .*/c"):
    lineages.read(*paths)


def test_a_letter_that_is_no_base_is_named(tmp_path):
  paths = files(tmp_path, FASTA.replace('ACGA', 'AC!A'), CLADES, METADATA)
  with pytest.raises(InputError, match=r"f: 'b'.*'!'"):
    lineages.read(*paths)


def test_a_missing_column_is_named(tmp_path):
  paths = files(tmp_path, FASTA, CLADES.replace('_by_rule', ''), METADATA)
  with pytest.raises(InputError, match='no nextstrain_clade_by_rule'):
    lineages.read(*paths)
