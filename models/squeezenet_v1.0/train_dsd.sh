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
#   PHASES      which of them, in turn (default: dense sparse redense)
#   WEIGHTS     what the first of them starts from (default: from scratch)
#   DRY_RUN     1: only print what they need
# Instead of the solvers' and the net's own numbers: UPDATES of every phase, BATCH (pictures), ITER_SIZE (batches an update),
# TEST_BATCH (pictures), TEST_ITER (batches of a test), TEST_INTERVAL, DISPLAY_EVERY, SNAPSHOT_EVERY (updates).
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

read -r -a phases <<<"${PHASES:-dense sparse redense}"
for phase in "${phases[@]}"; do
  [[ -f $net_dir/solver_$phase.prototxt ]] || die "PHASES: there is no $net_dir/solver_$phase.prototxt"
done
first_weights=()
if [[ -n ${WEIGHTS:-} ]]; then
  [[ -f $WEIGHTS ]] || die "WEIGHTS: $WEIGHTS is not there"
  first_weights=(--weights "$WEIGHTS")
elif [[ ${phases[0]} != dense ]]; then
  die "set WEIGHTS to what the ${phases[0]} phase starts from"
fi

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
for phase in "${phases[@]}"; do
  sed -e "s|^net: .*|net: \"$(quoted "$config/train_val.prototxt")\"|" \
      "$net_dir/solver_$phase.prototxt" >"$config/solver_$phase.prototxt"
done
if [[ $smoke == 1 ]]; then
  : "${UPDATES:=3}" "${BATCH:=4}" "${TEST_BATCH:=4}" "${ITER_SIZE:=1}"
  : "${TEST_ITER:=2}" "${TEST_INTERVAL:=3}" "${DISPLAY_EVERY:=1}"
fi
# change FILE… KEY VALUE: every `KEY: number` becomes VALUE, if there is one; a comment beside it would be of the old one.
change() {
  local value=${*: -1} key=${*: -2:1} file
  if [[ -z $value ]]; then return; fi
  [[ $value =~ ^[1-9][0-9]*$ ]] || die "expected a whole number for $key, found '$value'"
  for file in "${@:1:$#-2}"; do
    sed -e "s/^\( *\)$key: [0-9].*/\1$key: $value/" "$file" >"$file.new"
    mv "$file.new" "$file"
  done
}
solvers=("${phases[@]/#/$config/solver_}")
solvers=("${solvers[@]/%/.prototxt}")
change "${solvers[@]}" max_iter "${UPDATES:-}"
change "${solvers[@]}" iter_size "${ITER_SIZE:-}"
change "${solvers[@]}" test_iter "${TEST_ITER:-}"
change "${solvers[@]}" test_interval "${TEST_INTERVAL:-}"
change "${solvers[@]}" display "${DISPLAY_EVERY:-}"
change "${solvers[@]}" average_loss "${DISPLAY_EVERY:-}"
change "${solvers[@]}" snapshot "${SNAPSHOT_EVERY:-}"
# The net's two batch sizes, that of TEST last.
sizes() {
  awk -v train="${BATCH:-}" -v test="${TEST_BATCH:-}" '
    /^ *batch_size:/ { size = ++n == 1 ? train : test; if (size != "") sub(/[0-9].*/, size) }
    { print }' "$1" >"$1.new"
  mv "$1.new" "$1"
}
sizes "$config/train_val.prototxt"
iterations=${TEST_ITER:-1000}

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
  mkdir -p "$out"
  # tee -i: after Ctrl-C the program still saves and logs.
  "$dsd" train --phase "$phase" --solver "$config/solver_$phase.prototxt" --out "$out" \
    ${start[@]+"${start[@]}"} ${threads[@]+"${threads[@]}"} 2>&1 | tee -i -a "$out/$phase.log"
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
# Of the phase at that place in the list: what it starts from, in `given`, and SPARSITY.
settings_of() {
  given=()
  if ((first)); then given=(${first_weights[@]+"${first_weights[@]}"}); fi
  if [[ $1 == sparse ]]; then given+=(--sparsity "${SPARSITY:-@squeezenet_3x}"); fi
}
echo "what each phase will need here (its passes are tried for some seconds):"
first=1
for phase in "${phases[@]}"; do
  settings_of "$phase"
  needs "$phase" ${given[@]+"${given[@]}"}
  first=0
done
if [[ ${DRY_RUN:-0} == 1 ]]; then exit 0; fi

weights=
first=1
for phase in "${phases[@]}"; do
  if ((first)); then
    run_phase "$phase" ${first_weights[@]+"${first_weights[@]}"}
  else
    run_phase "$phase" --weights "$weights"
  fi
  weights=$(weights_of "$phase")
  first=0
done

# A test that has come to its end is not run again; its log is written aside till then.
if [[ -f $out/test.log && $out/test.log -nt $weights ]]; then
  echo "test: done already ($out/test.log)"
  exit 0
fi
echo "test: $weights"
"$dsd" test --model "$config/train_val.prototxt" --weights "$weights" --iterations "$iterations" \
  ${threads[@]+"${threads[@]}"} 2>&1 | tee -i "$out/test.log.part"
mv "$out/test.log.part" "$out/test.log"
