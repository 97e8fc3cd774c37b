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

code=$(mktemp --suffix=.tar)
trap 'rm -f "$code"' EXIT
git archive --output="$code" HEAD
gcloud compute tpus tpu-vm scp "$code" "$name:multiomics-jax.tar" \
  --zone="$zone" --worker=all
on_all "mkdir -p multiomics-jax && tar -xf multiomics-jax.tar -C multiomics-jax &&
  cd multiomics-jax && python3.11 -m venv ~/multiomics-venv &&
  ~/multiomics-venv/bin/pip install --quiet -e '.[tpu,gcs]'"
# JAX finds the other hosts by itself. The run outlives this terminal.
on_all "cd multiomics-jax && setsid nohup ~/multiomics-venv/bin/python \
  -m experiments.run $flags > ~/run.log 2>&1 < /dev/null &"
