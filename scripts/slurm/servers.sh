#!/bin/bash
#SBATCH --job-name=its-servers
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gres=gpu:8
#SBATCH --time=12:00:00
# Serve a model with vLLM, one server on each node, for `engine.kind: openai`.
#
#     sbatch --nodes=4 scripts/slurm/servers.sh MODEL NAME --tensor-parallel-size 8
#
# The job has 8 GPUs on each node, and a server uses as many as --tensor-parallel-size says: without it one. For a model
# that fits on one GPU: --gres=gpu:1 before the script, or --data-parallel-size 8 after NAME.
#
# MODEL is a folder or an id of the hub, NAME what requests call it (a checkpoint's is that of its folder); what follows
# goes to vLLM. Writes servers-JOB.yaml: the lines for `engine.openai.servers`. scancel ends the servers.
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-$PWD}"
if [ $# -lt 2 ]; then
    echo "usage: sbatch scripts/slurm/servers.sh MODEL NAME [OPTIONS OF VLLM]" >&2
    exit 2
fi
if [ -z "${SLURM_JOB_ID:-}" ]; then
    echo "scripts/slurm/servers.sh: not a job of SLURM: sbatch scripts/slurm/servers.sh MODEL NAME [OPTIONS]" >&2
    exit 2
fi
port=${ITS_PORT:-8000}
home=${ITS_HOME:-$PWD/.its}
shopt -s nullglob # without an environment the pattern would be a path
pythons=("$home"/envs/vllm*/bin/python)
if [ -z "${ITS_VLLM_PYTHON:-}" ] && [ ${#pythons[@]} = 0 ]; then
    echo "$home/envs: no environment of vLLM: run \`its env sync vllm --build cuda\`, or set ITS_HOME" >&2
    exit 4
fi
python=${ITS_VLLM_PYTHON:-${pythons[-1]}}
{
    echo "servers:"
    scontrol show hostnames "$SLURM_JOB_NODELIST" | sed "s#.*#  - {url: \"http://&:$port/v1\"}#"
} > "servers-$SLURM_JOB_ID.yaml"
model=$1 name=$2
shift 2
srun --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 --kill-on-bad-exit=0 \
    "$python" -m vllm.entrypoints.openai.api_server \
    --model "$model" --served-model-name "$name" --port "$port" --generation-config vllm "$@"
