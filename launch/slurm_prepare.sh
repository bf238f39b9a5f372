#!/usr/bin/env bash
# Prepares a long list of recordings on a Slurm cluster: a job array, one data set for each part of the list.
#
#   launch/slurm_prepare.sh --list=/shared/all.txt --output=/shared/clips --parts=100 -- --height=64 --width=56
#
# writes the parts to /shared/clips/lists and makes the data sets /shared/clips/part-0000 and on. After -- come other
# options of python -m nwt_jax.prepare. Take so many parts that each has at most 1,000 hours: docs/preparation.md.
#
#   --list=FILE          .txt or .jsonl, as for --input of nwt_jax.prepare
#   --output=DIR         folder of the data sets
#   --parts=N            data sets to make
#   --at-once=N          at most so many at a time (all)
#   --cpus-per-task=4    CPU cores of each, and its --workers
#   --time=D-HH:MM:SS    limit of each (the partition's default)
#   --partition=NAME     partition (the cluster's default)
#   --job-name=prepare   name in the queue
#   --python=PATH        Python with nwt_jax (.venv/bin/python)
#   --sbatch=OPTION      any other option of sbatch, such as --sbatch=--account=mine; may be given again
#   --dry-run            print what would be submitted
#
# The same again does what is missing: whole data sets stay, a part that was cut off goes on.
set -euo pipefail
here=$(dirname "$0")
# shellcheck source=common.sh
source "$here/common.sh"

list='' output='' parts='' once='' cpus=4 time='' partition='' name=prepare python=.venv/bin/python dry='' extra=()
while (($#)); do
  case $1 in
    --help | -h) usage ;;
    --list=*) list=${1#*=} ;;
    --output=*) output=${1#*=} ;;
    --parts=*) parts=${1#*=} ;;
    --at-once=*) once=${1#*=} && number --at-once "$once" 1 ;;
    --cpus-per-task=*) cpus=${1#*=} ;;
    --time=*) time=${1#*=} ;;
    --partition=*) partition=${1#*=} ;;
    --job-name=*) name=${1#*=} ;;
    --python=*) python=${1#*=} ;;
    --sbatch=-*) extra+=("${1#*=}") ;;
    --dry-run) dry=1 ;;
    --) shift && break ;;
    *) unknown "$1" ;;
  esac
  shift
done
wanted --list "$list" 'FILE.txt or FILE.jsonl'
wanted --output "$output" DIR
wanted --parts "$parts" N
number --parts "$parts" 1
number --cpus-per-task "$cpus" 1
duration --time "$time"
[ -f "$list" ] || fail "--list=$list is no file: give a .txt or .jsonl list of recordings"
case $list in *.txt | *.jsonl) ;; *) fail "--list=$list: wanted a .txt or .jsonl list of recordings" ;; esac
root=("--root=$(cd "$(dirname "$list")" && pwd)") # where the list's relative paths start
for word; do
  case $word in
    --root=*) root=() ;;
    --input* | --output* | --workers* | --talker*) fail "'$word' is set here: use --list, --output and --cpus-per-task" ;;
  esac
done

submit=(sbatch --job-name="$name" --array="0-$((parts - 1))${once:+%$once}" --ntasks=1 --cpus-per-task="$cpus" --requeue)
submit+=(--output="$output/lists/part-%4a.log" --open-mode=append)
if [ -n "$time" ]; then submit+=(--time="$time"); fi
if [ -n "$partition" ]; then submit+=(--partition="$partition"); fi
submit+=(${extra[@]+"${extra[@]}"})
job="#!/usr/bin/env bash
set -euo pipefail
output=$(quote "$output")
part=\$(printf 'part-%04d' \"\$SLURM_ARRAY_TASK_ID\")
list=\$output/lists/\$part.${list##*.}
[ -s \"\$list\" ] || { echo \"\$part is empty\"; exit 0; }
exec $(quote "$python") -m nwt_jax.prepare --input=\"\$list\" --output=\"\$output/\$part\" --workers=$cpus $(quote ${root[@]+"${root[@]}"} "$@")"
split=(python3 "$here/split_list.py" "$list" "$parts" "$output/lists")

if [ -n "$dry" ]; then
  printf "%s\n%s <<'JOB'\n%s\nJOB\n" "$(quote "${split[@]}")" "$(quote "${submit[@]}")" "$job"
  exit
fi
needs sbatch 'run this on a login node of a Slurm cluster'
command -v "$python" >/dev/null || fail "--python=$python is not there: make it with make venv, or give another"
"${split[@]}"
"${submit[@]}" <<<"$job"
