#!/usr/bin/env bash
# One run on the GPUs of several nodes, one process a node; see slurm.md.
#
#   sbatch --nodes=8 experiments/launch/slurm.sh --config=FILE[:arg] --workdir=DIR …
#SBATCH --job-name=multiomics
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --requeue
#SBATCH --signal=TERM@120
set -euo pipefail

if (($# < 2)); then
  echo "usage: sbatch --nodes=N $0 --config=FILE[:arg] --workdir=DIR …" >&2
  exit 2
fi
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
code=0
# One process has all GPUs of its node; by itself JAX would give it one.
srun --kill-on-bad-exit=0 bash -c 'exec python -m experiments.run \
  --coordinator="$0:12345" --processes="$SLURM_NTASKS" \
  --process="$SLURM_PROCID" "$@"' "$first" "$@" || code=$?
# Stopped before its end, with a checkpoint written.
if ((code == 75)); then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
