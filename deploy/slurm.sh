#!/bin/bash
# A study on the nodes of a Slurm job: sbatch deploy/slurm.sh, from the project's folder on storage that all nodes mount.
# When the job's time is up or a node is taken away, the study ends cleanly and the job is queued again, where it goes on.
#SBATCH --job-name=ray-tune-study
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
#SBATCH --mem=32G
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@300
set -euo pipefail
umask 077
source .venv/bin/activate

run=reports/night
port=$((20000 + SLURM_JOB_ID % 10000))
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address=$(srun --nodes=1 --ntasks=1 -w "$head" hostname --ip-address | awk '{print $1}'):$port

# A cluster that asks for no token runs the code of whoever reaches it, and the nodes of a batch system are shared.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$PWD/.ray-token-$SLURM_JOB_ID
python -c 'import secrets; print(secrets.token_hex(32), end="")' > "$RAY_AUTH_TOKEN_PATH"
trap 'rm -f "$RAY_AUTH_TOKEN_PATH"' EXIT
export RAY_TMPDIR=/tmp/ray-$SLURM_JOB_ID

start="ray start --block --num-cpus=$SLURM_CPUS_PER_TASK --disable-usage-stats"
srun --nodes=1 --ntasks=1 -w "$head" $start --head --node-ip-address="${address%:*}" --port="$port" --include-dashboard=false &
until ray health-check --address "$address" 2> /dev/null; do sleep 2; done
if ((SLURM_NNODES > 1)); then
  srun --nodes=$((SLURM_NNODES - 1)) --ntasks=$((SLURM_NNODES - 1)) --exclude="$head" $start --address="$address" &
fi
export RAY_ADDRESS=$address # what --address auto then means, also when the run goes on elsewhere
until (($(python -c "import ray; ray.init('auto', logging_level='ERROR'); print(len(ray.nodes()))") >= SLURM_NNODES)); do
  sleep 2
done

# In the background, so that the signal before the end reaches this script, which hands it on.
if test -e $run/ledger.db; then
  python -m study.resume $run &
else
  python -m study.run imbalance --address auto --dataset cifar10 --budget standard --gpus-per-trial 0.25 --output-dir reports --name night &
fi
study=$!
trap 'kill -TERM "$study"' TERM
status=0
wait "$study" || status=$?
wait "$study" || status=$? # the first one ends when the signal comes, this one when the study has
if ((status == 143)); then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$status"
