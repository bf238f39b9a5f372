#!/usr/bin/env bash
# Trains on a Slurm cluster: one process for each GPU, saved and queued again before the time limit.
#
#   launch/slurm_train.sh --nodes=2 --tasks-per-node=8 --time=12:00:00 -- \
#     --config=configs/dvae_lwt.py --workdir=/shared/runs/dvae --config.data.path=/shared/clips
#
# After -- come the options of python -m nwt_jax.main. Paths must be the same files on all nodes.
#
#   --nodes=1            nodes
#   --tasks-per-node=1   processes on each
#   --gpus-per-task=1    GPUs of each process; 0 trains on CPUs
#   --cpus-per-task=N    CPU cores of each process (the cluster's default)
#   --time=D-HH:MM:SS    limit of one turn (the partition's default)
#   --partition=NAME     partition (the cluster's default)
#   --grace=120          seconds before the limit at which training is told to save
#   --max-restarts=1000  after so many turns the job ends unfinished
#   --job-name=nwt       name in the queue
#   --log=FILE           what all turns print (nwt-%j.log; %j is the job's number)
#   --python=PATH        Python with nwt_jax (.venv/bin/python)
#   --sbatch=OPTION      any other option of sbatch, such as --sbatch=--account=mine; may be given again
#   --dry-run            print what would be submitted
#
# Training that is told to stop (time limit, preemption, scancel --signal=TERM) saves and ends with exit code 143; then
# the job queues itself again and goes on where it was. It ends when training ends.
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "$0")/common.sh"

nodes=1 tasks=1 gpus=1 cpus='' time='' partition='' grace=120 restarts=1000 name=nwt log='nwt-%j.log'
python=.venv/bin/python dry='' extra=()
while (($#)); do
  case $1 in
    --help | -h) usage ;;
    --nodes=*) nodes=${1#*=} ;;
    --tasks-per-node=*) tasks=${1#*=} ;;
    --gpus-per-task=*) gpus=${1#*=} ;;
    --cpus-per-task=*) cpus=${1#*=} && number --cpus-per-task "$cpus" 1 ;;
    --time=*) time=${1#*=} ;;
    --partition=*) partition=${1#*=} ;;
    --grace=*) grace=${1#*=} ;;
    --max-restarts=*) restarts=${1#*=} ;;
    --job-name=*) name=${1#*=} ;;
    --log=*) log=${1#*=} ;;
    --python=*) python=${1#*=} ;;
    --sbatch=-*) extra+=("${1#*=}") ;;
    --dry-run) dry=1 ;;
    --) shift && break ;;
    *) unknown "$1" ;;
  esac
  shift
done
number --nodes "$nodes" 1
number --tasks-per-node "$tasks" 1
number --gpus-per-task "$gpus" 0
number --grace "$grace" 1
number --max-restarts "$restarts" 0
duration --time "$time"
among --config 'write -- --config=configs/NAME.py --workdir=DIR' "$@"
among --workdir 'a job that queues again goes on from there; write --workdir=DIR' "$@"

submit=(sbatch --job-name="$name" --nodes="$nodes" --ntasks-per-node="$tasks" --requeue --signal="TERM@$grace")
submit+=(--output="$log" --open-mode=append)
if ((gpus)); then submit+=(--gres="gpu:$((tasks * gpus))"); fi
step=(srun --kill-on-bad-exit=0 --wait=600)
if [ -n "$cpus" ]; then submit+=(--cpus-per-task="$cpus") step+=(--cpus-per-task="$cpus"); fi
if [ -n "$time" ]; then submit+=(--time="$time"); fi
if [ -n "$partition" ]; then submit+=(--partition="$partition"); fi
submit+=(${extra[@]+"${extra[@]}"})
# JAX gives process k of a node its GPU k; several GPUs a process have to be named.
if ((gpus > 1)); then
  # shellcheck disable=SC2016 # for the shell of each process
  step+=(bash -c 'first=$((SLURM_LOCALID * $0)); JAX_LOCAL_DEVICE_IDS=$(seq -s, "$first" $((first + $0 - 1))) exec "$@"' "$gpus")
fi

# A process that ends early does not end the others: they are saving. Who hangs is ended after ten minutes.
job="#!/usr/bin/env bash
code=0
$(quote "${step[@]}" "$python" -m nwt_jax.main "$@") || code=\$?
if [ \"\$code\" -ne 143 ]; then exit \"\$code\"; fi # 143: told to stop, and saved
if [ \"\${SLURM_RESTART_COUNT:-0}\" -ge $restarts ]; then
  echo \"stopped after $restarts restarts; submit the same again to go on\" >&2
  exit 143
fi
scontrol requeue \"\$SLURM_JOB_ID\""

if [ -n "$dry" ]; then
  printf "%s <<'JOB'\n%s\nJOB\n" "$(quote "${submit[@]}")" "$job"
  exit
fi
needs sbatch 'run this on a login node of a Slurm cluster'
command -v "$python" >/dev/null || fail "--python=$python is not there: make it with make venv, or give another"
"${submit[@]}" <<<"$job"
