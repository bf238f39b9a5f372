#!/usr/bin/env bash
# From a folder of videos to a sampled one: prepare, dVAE, tokenize, MAR, sample.
#
#   scripts/your_clips.sh 'videos/*.mp4' runs/mine                  (one person, one camera: no episodes needed)
#   EPISODES=clips.csv VARIANT=demo scripts/your_clips.sh 'videos/*.mp4' runs/mine
#
# VARIANT  size of the models: demo (the shipped talker's; the default), tiny (to try the way), or empty: the paper's.
# EPISODES csv with the columns clip and episode.  CROP: WIDTHxHEIGHT+LEFT+TOP, the part of each picture to keep.
# STEPS: training steps of each stage, instead of the config's; MAR has two parts of so many.
# Every step may be run again: finished ones are kept, interrupted training goes on.
set -euo pipefail
clips=${1:?a folder or a quoted glob of videos}
runs=${2:?a folder for data, runs and the sample}
variant=${VARIANT-demo}
python=${PYTHON:-.venv/bin/python}
case $variant in
  demo) size=(--height=64 --width=56) ;;
  tiny) size=(--height=32 --width=24) ;;
  *) size=() ;;
esac
suffix=${variant:+:$variant}
steps=(${STEPS:+"--config.train.steps=$STEPS"})
episodes=(${EPISODES:+"--episodes=$EPISODES"})
crop=(${CROP:+"--crop=$CROP"})

"$python" -m nwt_jax.prepare --input="$clips" --output="$runs/clips" \
  ${size[@]+"${size[@]}"} ${episodes[@]+"${episodes[@]}"} ${crop[@]+"${crop[@]}"}
"$python" -m nwt_jax.main --config="configs/dvae_lwt.py$suffix" --workdir="$runs/dvae" \
  --config.data.path="$runs/clips" ${steps[@]+"${steps[@]}"}
if [ ! -e "$runs/tokens/metadata.json" ]; then
  "$python" -m nwt_jax.main --config="configs/tokenize.py$suffix" --workdir="$runs/tokens" \
    --config.data.path="$runs/clips" --config.dvae="$runs/dvae"
fi
mar() { # SUFFIX OVERRIDES...
  "$python" -m nwt_jax.main --config="configs/mar.py$1" --workdir="$runs/mar" \
    --config.data.path="$runs/tokens" --config.dvae="$runs/dvae" "${@:2}"
}
mar "$suffix" ${steps[@]+"${steps[@]}"}
if [ -n "$variant" ]; then # small priors train in two parts, see configs/prior.py
  mar "$suffix,corrupt_history" ${STEPS:+"--config.train.steps=$((2 * STEPS))"}
fi
"$python" -m nwt_jax.sample --config=configs/mar.py --checkpoint="$runs/mar" --output="$runs/sample.mp4" \
  ${AUDIO:+"--audio=$AUDIO"}
