#!/usr/bin/env bash
# Trains on Cloud TPU VMs: one process on every worker of a slice, each in a container.
#
#   launch/tpu_vm.sh create --name=mine --zone=us-east5-b --type=v6e-16 --version=v2-alpha-tpuv6e --spot
#   launch/tpu_vm.sh run --name=mine --zone=us-east5-b --image=IMAGE --nfs=10.0.0.2:/runs -- \
#     --config=configs/dvae_lwt.py --workdir=/runs/dvae --config.data.path=/runs/clips
#   launch/tpu_vm.sh logs | stop | delete --name=mine --zone=us-east5-b
#
# create makes the slice, run starts training on all workers and follows what they print, logs follows it again, stop
# sends SIGTERM, upon which training saves, and delete gives the slice back. After -- come the options of
# python -m nwt_jax.main. launch/Dockerfile makes the image, with --build-arg EXTRA=tpu.
#
#   --name=NAME          of the slice
#   --zone=ZONE          where it is
#   --type=TYPE          create: --accelerator-type of gcloud
#   --version=VERSION    create: the TPU software version
#   --spot               create: cheaper, and may be taken away
#   --image=IMAGE        run: container image
#   --nfs=HOST:/SHARE    run: mounted on all workers first; without it --folder must be the same files on all already
#   --folder=/runs       run: folder of the workers that the containers see as /runs
#   --grace=300          stop: seconds from SIGTERM to the end, for saving
#   --dry-run            print the commands
#
# A slice that was taken away is made again by create; run with the same --workdir goes on from the last saved step.
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "$0")/common.sh"

name='' zone='' type='' version='' spot='' image='' nfs='' folder=/runs grace=300 dry=''
verb=${1:-}
case $verb in
  create | run | logs | stop | delete) shift ;;
  --help | -h) usage ;;
  *) fail "'$verb': wanted create, run, logs, stop or delete; --help tells what they do" ;;
esac
while (($#)); do
  case $1 in
    --help | -h) usage ;;
    --name=*) name=${1#*=} ;;
    --zone=*) zone=${1#*=} ;;
    --type=*) type=${1#*=} ;;
    --version=*) version=${1#*=} ;;
    --spot) spot=1 ;;
    --image=*) image=${1#*=} ;;
    --nfs=*) nfs=${1#*=} ;;
    --folder=*) folder=${1#*=} ;;
    --grace=*) grace=${1#*=} ;;
    --dry-run) dry=1 ;;
    --) shift && break ;;
    *) unknown "$1" ;;
  esac
  shift
done
wanted --name "$name" NAME
wanted --zone "$zone" ZONE
number --grace "$grace" 1
if [ "$verb" != run ] && (($#)); then fail "$verb takes nothing after --: training is started by run"; fi

gcloud=(gcloud compute tpus tpu-vm)
remote() { # SCRIPT: on every worker
  commands=("${gcloud[@]}" ssh "$name" --zone="$zone" --worker=all --command="$1")
}
case $verb in
  create)
    wanted --type "$type" 'TYPE, such as v6e-16'
    wanted --version "$version" 'VERSION, such as v2-alpha-tpuv6e'
    commands=("${gcloud[@]}" create "$name" --zone="$zone" --accelerator-type="$type" --version="$version")
    if [ -n "$spot" ]; then commands+=(--spot); fi
    ;;
  run)
    wanted --image "$image" IMAGE
    among --config 'write -- --config=configs/NAME.py --workdir=/runs/NAME' "$@"
    among --workdir 'write --workdir=/runs/NAME' "$@"
    for word; do
      case $word in
        --workdir=/runs/*) ;;
        --workdir=*) fail "'$word': what is outside of /runs ends with the slice; write --workdir=/runs/NAME" ;;
      esac
    done
    mount=''
    if [ -n "$nfs" ]; then
      [[ $nfs =~ ^[^:[:space:]]+:/ ]] || fail "--nfs=$nfs: wanted HOST:/SHARE"
      mount="sudo mkdir -p $(quote "$folder") && { mountpoint -q $(quote "$folder") || sudo mount -t nfs $(quote "$nfs" "$folder"); } && "
    fi
    # Detached: a lost connection ends what is shown, not the training. A name that is taken refuses a second one.
    docker=(sudo docker run --detach --rm --name=nwt --privileged --net=host --user=0 --volume="$folder:/runs" "$image" "$@")
    remote "$mount$(quote "${docker[@]}") && sudo docker logs --follow nwt"
    ;;
  logs) remote 'sudo docker logs --follow nwt' ;;
  stop) remote "sudo docker stop --time=$grace nwt" ;;
  delete) commands=("${gcloud[@]}" delete "$name" --zone="$zone" --quiet) ;;
esac
if [ -n "$dry" ]; then
  printf '%s\n' "$(quote "${commands[@]}")"
  exit
fi
needs gcloud 'install the Google Cloud CLI'
exec "${commands[@]}"
