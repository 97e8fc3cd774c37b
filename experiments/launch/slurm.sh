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
failed="$PWD/slurm-$SLURM_JOB_ID.failed"
rm -f "$failed"
export XLA_PYTHON_CLIENT_MEM_FRACTION=.92
# One process has all GPUs of its node; by itself JAX would give it one.
code=0
srun --kill-on-bad-exit=0 --cpus-per-task="$SLURM_CPUS_PER_TASK" bash -c '
  first=$1 failed=$2
  shift 2
  python -m experiments.run --coordinator="$first:12345" \
    --processes="$SLURM_NTASKS" --process="$SLURM_PROCID" "$@" &
  run=$!
  trap "kill -TERM $run" TERM
  wait $run; code=$?
  # The signal ended the wait, not the run.
  if ((code > 128)); then wait $run; code=$?; fi
  ((code == 0 || code == 75)) || touch "$failed"
  exit $code' run "$first" "$failed" "$@" || code=$?
# Stopped before its end with a checkpoint written, and nothing to be mended.
if ((code == 75)) && [[ ! -e $failed ]]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
