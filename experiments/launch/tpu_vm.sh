#!/usr/bin/env bash
# One run on all hosts of a TPU VM pod slice; see tpu_vm.md.
#
#   experiments/launch/tpu_vm.sh NAME ZONE --config=FILE[:arg] --workdir=DIR …
set -euo pipefail

if (($# < 4)); then
  echo "usage: $0 NAME ZONE --config=FILE[:arg] --workdir=DIR [run's flags]" >&2
  exit 2
fi
name=$1 zone=$2
shift 2
# Quoted once for the shell of the hosts.
flags=$(printf '%q ' "$@")

on_all() {
  gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all \
    --command="$1"
}

tar --exclude-vcs --exclude=runs -cf - . |
  gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all \
    --command='rm -rf multiomics-jax && mkdir multiomics-jax &&
      tar -xf - -C multiomics-jax'
on_all "cd multiomics-jax && pip install --quiet -e '.[tpu]'"
# JAX finds the other hosts by itself; 75 is a run to be gone on with.
on_all "cd multiomics-jax &&
  until python3 -m experiments.run $flags; do
    code=\$?; [ \$code = 75 ] || exit \$code; sleep 10
  done"
