#!/usr/bin/env bash
# Trains on Google Kubernetes Engine: a JobSet that starts again from the last saved step when a pod ends.
#
#   launch/gke.sh --name=mine --image=REGION-docker.pkg.dev/PROJECT/nwt/nwt --gpu=nvidia-h100-80gb --nodes=2 --chips=8 \
#     --volume=pvc:runs -- --config=configs/dvae_lwt.py --workdir=/runs/dvae --config.data.path=/runs/clips
#   launch/gke.sh --name=mine --image=... --tpu=tpu-v6e-slice --topology=4x4 --nodes=4 --chips=4 --volume=bucket:runs -- ...
#
# After -- come the options of python -m nwt_jax.main. The cluster has JobSet; launch/Dockerfile makes the image.
#
#   --name=NAME          of the JobSet: lower case letters, digits and -, at most 40
#   --image=IMAGE        container image
#   --gpu=TYPE           GPUs, by their label cloud.google.com/gke-accelerator; or
#   --tpu=TYPE           TPUs, by their label cloud.google.com/gke-tpu-accelerator, and
#   --topology=4x4       the slice's topology
#   --nodes=1            nodes (of a slice)
#   --chips=N            GPUs or TPU chips of each node
#   --slices=1           TPU slices
#   --spot               on Spot nodes
#   --volume=KIND:NAME   pvc: a claim that all nodes may write to; bucket: a bucket, through Cloud Storage FUSE
#   --mount=/runs        where the volume is seen; --workdir lies in it
#   --max-restarts=100   after so many the set fails
#   --grace=300          seconds from SIGTERM to the end, for saving
#   --xpk=CLUSTER        submit by xpk instead: --tpu or --gpu is then its --tpu-type or --device-type, --volume is
#                        storage:NAME as xpk knows it, and --topology and --chips are left out
#   --dry-run            print the manifest, or xpk's command
set -euo pipefail
here=$(dirname "$0")
# shellcheck source=common.sh
source "$here/common.sh"

name='' image='' gpu='' tpu='' topology='' nodes=1 chips='' slices=1 spot='' volume='' mount=/runs
restarts=100 grace=300 xpk='' dry=''
while (($#)); do
  case $1 in
    --help | -h) usage ;;
    --name=*) name=${1#*=} ;;
    --image=*) image=${1#*=} ;;
    --gpu=*) gpu=${1#*=} ;;
    --tpu=*) tpu=${1#*=} ;;
    --topology=*) topology=${1#*=} ;;
    --nodes=*) nodes=${1#*=} ;;
    --chips=*) chips=${1#*=} ;;
    --slices=*) slices=${1#*=} ;;
    --spot) spot=1 ;;
    --volume=*) volume=${1#*=} ;;
    --mount=*) mount=${1#*=} ;;
    --max-restarts=*) restarts=${1#*=} ;;
    --grace=*) grace=${1#*=} ;;
    --xpk=*) xpk=${1#*=} ;;
    --dry-run) dry=1 ;;
    --) shift && break ;;
    *) unknown "$1" ;;
  esac
  shift
done
plain() { # OPTION VALUE WHAT: what Kubernetes names are made of
  wanted "$1" "$2" "$3"
  [[ $2 =~ ^[A-Za-z0-9][A-Za-z0-9._:/@-]*$ ]] || fail "$1=$2: wanted $3, of letters, digits and . _ : / @ - alone"
}
plain --name "$name" NAME
[[ $name =~ ^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$ ]] || fail "--name=$name: wanted at most 40 lower case letters, digits and -"
plain --image "$image" IMAGE
number --nodes "$nodes" 1
number --slices "$slices" 1
number --max-restarts "$restarts" 0
number --grace "$grace" 1
case ${gpu:+g}${tpu:+t} in
  g) plain --gpu "$gpu" TYPE && kind=gpu ;;
  t) plain --tpu "$tpu" TYPE && kind=tpu ;;
  *) fail "give either --gpu=TYPE or --tpu=TYPE" ;;
esac
if [ "$kind" = gpu ] && ((slices > 1)); then fail "--slices=$slices belongs to --tpu: GPUs are counted by --nodes and --chips"; fi
among --config 'write -- --config=configs/NAME.py --workdir=DIR' "$@"
among --workdir "write --workdir=$mount/NAME" "$@"

if [ -n "$xpk" ]; then
  [[ $volume =~ ^storage:[a-z0-9-]+$ ]] || fail "--volume=$volume: with --xpk wanted storage:NAME, from xpk storage attach"
  submit=(xpk workload create --cluster="$xpk" --workload="$name" --docker-image="$image" --storage="${volume#*:}")
  if [ "$kind" = tpu ]; then
    submit+=(--tpu-type="$tpu" --num-slices="$slices")
  else
    submit+=(--device-type="$gpu" --num-nodes="$nodes")
  fi
  if [ -n "$spot" ]; then submit+=(--spot); fi
  submit+=(--max-restarts="$restarts" --termination-grace-period-seconds="$grace")
  submit+=(--command="$(quote python -m nwt_jax.main "$@")")
  if [ -n "$dry" ]; then
    printf '%s\n' "$(quote "${submit[@]}")"
    exit
  fi
  needs xpk "pip install xpk"
  exec "${submit[@]}"
fi

number --chips "${chips:-0}" 1
case $volume in
  pvc:?* | bucket:?*) plain --volume "${volume#*:}" 'pvc:NAME or bucket:NAME' ;;
  *) fail "--volume=$volume: wanted pvc:NAME or bucket:NAME, a folder that outlives pods" ;;
esac
[[ $mount =~ ^/[A-Za-z0-9._/-]+$ ]] || fail "--mount=$mount: wanted an absolute path of letters, digits and . _ / -"
if [ "$kind" = tpu ]; then plain --topology "$topology" 'the topology, such as 4x4'; fi
inside=''
for word; do case $word in "--workdir=$mount"/*) inside=1 ;; esac; done
[ -n "$inside" ] || fail "--workdir must lie in the volume, which is at $mount: what is elsewhere ends with its pod"

list() { # WORDS...: a YAML list of strings in single quotes; $(...) would be Kubernetes' own
  local word words='' mark="'" expands="\$("
  for word; do
    case $word in *[[:cntrl:]]*) fail "'$word' holds a control character; leave it out" ;; esac
    word=${word//"$mark"/$mark$mark}
    words+=", '${word//"$expands"/\$$expands}'"
  done
  printf '[%s]' "${words#, }"
}

drop='#none'
for mark in gpu tpu pvc bucket spot; do
  case $mark in
    "$kind" | "${volume%%:*}") ;;
    spot) if [ -z "$spot" ]; then drop+='|#spot'; fi ;;
    *) drop+="|#$mark" ;;
  esac
done
manifest=$(grep -vE "($drop)\$" "$here/jobset.yaml" | sed -E 's/ #(gpu|tpu|pvc|bucket|spot)$//')
fill() { # NAME VALUE
  local rest=$manifest done=''
  while [[ $rest == *"@$1@"* ]]; do
    done+="${rest%%"@$1@"*}$2"
    rest=${rest#*"@$1@"}
  done
  manifest=$done$rest
}
fill NAME "$name"
fill IMAGE "$image"
fill ACCELERATOR "$gpu$tpu"
fill TOPOLOGY "$topology"
fill NODES "$nodes"
fill CHIPS "$chips"
fill SLICES "$slices"
fill VOLUME "${volume#*:}"
fill MOUNT "$mount"
fill RESTARTS "$restarts"
fill GRACE "$grace"
arguments=$(list "$@")
fill ARGUMENTS "$arguments"
if [ -n "$dry" ]; then
  printf '%s\n' "$manifest"
  exit
fi
needs kubectl 'install it and choose a cluster'
kubectl apply -f - <<<"$manifest"
