#!/bin/bash
#SBATCH --job-name=its-study
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --gres=gpu:1
#SBATCH --time=12:00:00
# Run the study of params.yaml, or some of its stages; a job that reached its time is submitted again and resumes.
#
#     sbatch scripts/slurm/study.sh
#     sbatch scripts/slurm/study.sh query
#     sbatch --gres=none scripts/slurm/study.sh    # with `engine.kind: openai`, after servers.sh
#
# `ITS_HOME` is on a disk that survives the job and that no other node writes to: it has the store (docs/scale.md).
set -euo pipefail
if [ -z "${SLURM_JOB_ID:-}" ]; then
    echo "scripts/slurm/study.sh: not a job of SLURM: sbatch scripts/slurm/study.sh [STAGE ...]" >&2
    exit 2
fi
cd "${SLURM_SUBMIT_DIR:-$PWD}"
export PATH="$PWD/.venv/bin:$PATH"
srun --ntasks=1 dvc repro "$@"
