#!/usr/bin/env bash
# Trains SqueezeNet dense -> sparse -> re-dense on ImageNet and tests the result: the run behind the
# published 61.76% top-1. Started again, it goes on where it stopped. It first tries each phase that is left and prints
# what it will need here: time, disk, memory.
#
#   TRAIN_LMDB=… VAL_LMDB=… ./train_dsd.sh
#   SMOKE=1 TRAIN_LMDB=… ./train_dsd.sh     the same path in a few minutes: 3 updates a phase
#
# Environment:
#   DSD         the program (default: dsd on the PATH, else this repository's target/release/dsd)
#   TRAIN_LMDB  training pictures, 256 x 256, labels 0..999
#   VAL_LMDB    the 50,000 validation pictures, likewise (SMOKE: default TRAIN_LMDB)
#   OUT         where weights, states and logs go (default: ./dsd_run/NET, with _smoke under SMOKE)
#   THREADS     default: all cores
#   SPARSITY    of the sparse phase (default: @squeezenet_3x, the published profile)
#   NET_DIR     folder of train_val.prototxt and the solvers (default: this script's)
set -euo pipefail

die() { printf 'error: %s\n' "$*" >&2; exit 1; }
# The working directory is the caller's all along: relative paths mean what they say.
absolute() { case $1 in /*) printf '%s\n' "$1" ;; *) printf '%s/%s\n' "$PWD" "$1" ;; esac; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
net_dir=$(cd "${NET_DIR:-$here}" && pwd)
name=$(basename "$net_dir")
smoke=${SMOKE:-0}

dsd=${DSD:-$(command -v dsd || printf '%s' "$here/../../target/release/dsd")}
command -v "$dsd" >/dev/null || die "no dsd program at $dsd: cargo build --release, or set DSD"

if [[ $smoke == 1 ]]; then
  out=$(absolute "${OUT:-dsd_run/${name}_smoke}")
  VAL_LMDB=${VAL_LMDB:-${TRAIN_LMDB:-}}
else
  out=$(absolute "${OUT:-dsd_run/$name}")
fi
[[ -n ${TRAIN_LMDB:-} ]] || die "set TRAIN_LMDB to the LMDB of the training pictures"
[[ -n ${VAL_LMDB:-} ]] || die "set VAL_LMDB to the LMDB of the validation pictures"
[[ -e $TRAIN_LMDB ]] || die "TRAIN_LMDB: $TRAIN_LMDB is not there"
[[ -e $VAL_LMDB ]] || die "VAL_LMDB: $VAL_LMDB is not there"

threads=()
if [[ -n ${THREADS:-} ]]; then threads=(--threads "$THREADS"); fi

# A path as the inside of a prototxt string, as sed's replacement with | between.
quoted() {
  local path
  path=$(absolute "$1")
  case $path in *[\"\\]*) die "quotes and backslashes in paths are not supported: $path" ;; esac
  printf '%s' "$path" | sed 's/[&|]/\\&/g'
}

# The run uses copies that name its two databases (--source would set only one): they stay in OUT as its record.
config=$out/config
mkdir -p "$config"
sed -e "s|\"imagenet_train_lmdb\"|\"$(quoted "$TRAIN_LMDB")\"|" \
    -e "s|\"imagenet_val_lmdb\"|\"$(quoted "$VAL_LMDB")\"|" \
    "$net_dir/train_val.prototxt" >"$config/train_val.prototxt"
for phase in dense sparse redense; do
  sed -e "s|^net: .*|net: \"$(quoted "$config/train_val.prototxt")\"|" \
      "$net_dir/solver_$phase.prototxt" >"$config/solver_$phase.prototxt"
done
iterations=1000
if [[ $smoke == 1 ]]; then
  iterations=2
  # -i.bak is the one spelling that both GNU's and BSD's sed take.
  sed -i.bak -e 's/batch_size: [0-9]*/batch_size: 4/' "$config/train_val.prototxt"
  sed -i.bak -e 's/^iter_size: [0-9]*/iter_size: 1/' -e "s/^test_iter: .*/test_iter: $iterations/" \
      -e 's/^test_interval: .*/test_interval: 3/' -e 's/^max_iter: [0-9]*/max_iter: 3/' \
      -e 's/^display: .*/display: 1/' "$config"/solver_*.prototxt
  rm -f "$config"/*.bak
fi

# The newest file of a phase with the given ending: the one with the highest iteration.
newest() {
  local file n best=-1 found=
  for file in "$out/$1/"*_iter_*."$2"; do
    n=${file##*_iter_}
    n=${n%."$2"}
    if [[ $n =~ ^[0-9]+$ ]] && ((n > best)); then best=$n found=$file; fi
  done
  printf '%s' "$found"
}
setting() { sed -n "s/^$1: \"\{0,1\}\([^\" ]*\).*/\1/p" "$config/solver_$2.prototxt"; }

# run_phase PHASE [FLAG…]: flags are those of a fresh start.
run_phase() {
  local phase=$1 done_file
  local -a start=("${@:2}")
  done_file=$out/$phase/$(setting snapshot_prefix "$phase")_iter_$(setting max_iter "$phase").caffemodel
  if [[ -e $done_file ]]; then
    echo "$phase: done already ($done_file)"
    return
  fi
  # A snapshot holds weights, history and masks: --resume needs no --weights.
  if [[ -n $(newest "$phase" solverstate) ]]; then start=(--resume); fi
  echo "$phase: ${start[*]:-from scratch}"
  if [[ $phase == sparse ]]; then start+=(--sparsity "${SPARSITY:-@squeezenet_3x}"); fi
  mkdir -p "$out/$phase"
  # tee -i: after Ctrl-C the program still saves and logs.
  "$dsd" train --phase "$phase" --solver "$config/solver_$phase.prototxt" --out "$out" \
    ${start[@]+"${start[@]}"} ${threads[@]+"${threads[@]}"} 2>&1 | tee -i -a "$out/$phase/train.log"
}
weights_of() {
  local file
  file=$(newest "$1" caffemodel)
  [[ -n $file ]] || die "the $1 phase left no *_iter_N.caffemodel in $out/$1"
  printf '%s' "$file"
}

# needs PHASE [FLAG…]: what is left of a phase needs, on stdout.
needs() {
  local phase=$1 done_file
  done_file=$out/$phase/$(setting snapshot_prefix "$phase")_iter_$(setting max_iter "$phase").caffemodel
  if [[ -e $done_file ]]; then return; fi
  local -a start=("${@:2}")
  if [[ -n $(newest "$phase" solverstate) ]]; then start+=(--resume); fi
  "$dsd" train --dry_run --phase "$phase" --solver "$config/solver_$phase.prototxt" --out "$out" \
    ${start[@]+"${start[@]}"} ${threads[@]+"${threads[@]}"} 2>>"$config/dry_run.log" ||
    die "the $phase phase cannot run: $(tail -n 1 "$config/dry_run.log")"
}
echo "what each phase will need here (its passes are tried for some seconds):"
needs dense
needs sparse --sparsity "${SPARSITY:-@squeezenet_3x}"
needs redense

run_phase dense
weights=$(weights_of dense)
run_phase sparse --weights "$weights"
weights=$(weights_of sparse)
run_phase redense --weights "$weights"
weights=$(weights_of redense)
echo "test: $weights"
"$dsd" test --model "$config/train_val.prototxt" --weights "$weights" --iterations "$iterations" \
  ${threads[@]+"${threads[@]}"} 2>&1 | tee -i "$out/test.log"
