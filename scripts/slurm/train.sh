#!/bin/bash
#SBATCH --job-name=its-train
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gres=gpu:8
#SBATCH --time=24:00:00
# Train checkpoints over all nodes of the job, one after the other; `dvc repro` then finds them trained.
#
#     dvc repro query
#     sbatch scripts/slurm/train.sh MODEL-DATASET-STRATEGY-SEED ...
#
# Without names, all that `query` listed. The checkout, and `training/`, `models/` and `envs/` of the ITS home, are the
# same folders at the same path on all nodes (docs/scale.md). The recipe states the nodes: `--nnodes` in `launcher_args`.
set -euo pipefail
if [ -z "${SLURM_JOB_ID:-}" ]; then
    echo "scripts/slurm/train.sh: not a job of SLURM: sbatch scripts/slurm/train.sh [CHECKPOINT ...]" >&2
    exit 2
fi
cd "${SLURM_SUBMIT_DIR:-$PWD}"
export PATH="$PWD/.venv/bin:$PATH"

checkpoints=("$@")
if [ $# = 0 ]; then
    shopt -s nullglob # without trainings the pattern would be a name
    for file in data/queries/trainings/*.json; do
        checkpoints+=("$(basename "$file" .json)")
    done
    if [ ${#checkpoints[@]} = 0 ]; then
        echo "$PWD: no trainings in data/queries/trainings: run \`dvc repro query\`" >&2
        exit 4
    fi
fi
if [ "$SLURM_JOB_NUM_NODES" = 1 ]; then
    for checkpoint in "${checkpoints[@]}"; do
        srun --nodes=1 --ntasks=1 its train "$checkpoint"
    done
    exit
fi
nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
export ITS_NODES=$SLURM_JOB_NUM_NODES
export ITS_RENDEZVOUS=${nodes%%$'\n'*}:${ITS_PORT:-$((20000 + SLURM_JOB_ID % 10000))}
for checkpoint in "${checkpoints[@]}"; do
    srun --nodes="$ITS_NODES" --ntasks="$ITS_NODES" --ntasks-per-node=1 --kill-on-bad-exit=1 \
        bash -c 'ITS_NODE=$SLURM_PROCID exec its train "$1"' its "$checkpoint"
done
