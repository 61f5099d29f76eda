#!/bin/sh
# Trains the charlm net dense, sparse, re-dense, and its control (the same rates and lengths after dense, no mask), tests all of
# it once on the test part, and prints bits a character. Started again, it goes on where it stopped.
#
#   ./make_data.sh && ./run.sh [SEED…]      (default: 1 2 3)
#
# Environment:
#   DSD      the program (default: dsd on the PATH, else this repository's target/release/dsd)
#   OUT      where runs go (default: ./dsd_run/charlm)
#   THREADS  default: all cores; the net is too small to gain much from more than one
#   FLAGS    more flags for training, such as --max_iter 10 for a trial
set -eu

die() { printf 'error: %s\n' "$*" >&2; exit 1; }

here=$(cd "$(dirname "$0")" && pwd)
dsd=${DSD:-$(command -v dsd || printf '%s' "$here/../../target/release/dsd")}
command -v "$dsd" >/dev/null || die "no dsd program at $dsd: cargo build --release, or set DSD"
[ -f "$here/devil/test.h5" ] || die "no $here/devil/test.h5: run make_data.sh first"
out=${OUT:-dsd_run/charlm}
threads=${THREADS:+--threads $THREADS}
[ $# -gt 0 ] || set -- 1 2 3

# train FOLDER FLAG…: a new run, or what is left of one; its log is log.txt in the folder.
train() {
  run=$1
  shift
  if grep -q '"done": true' "$run/redense/phase.json" 2>/dev/null; then return; fi
  if [ -f "$run/run.json" ]; then set -- --resume; fi
  # shellcheck disable=SC2086
  "$dsd" train "$@" --out "$run" $threads ${FLAGS:-} || die "$run stopped; started again it goes on"
}
weights() { ls "$1"/charlm_iter_*.caffemodel | sed 's/.*_iter_\([0-9]*\)\..*/\1 &/' | sort -n | sed -n '$s/^[0-9]* //p'; }
# bits FOLDER: of a phase's weights on the test part, which is one pass of 74 batches.
bits() {
  # shellcheck disable=SC2086
  "$dsd" test --model "$here/train_val.prototxt" --weights "$(weights "$1")" --source "$here/devil/test.h5" \
    --iterations 74 $threads >"$1/test.out" 2>"$1/test.log" || die "the test of $1 failed: $(tail -n 1 "$1/test.log")"
  sed -n 's/.*\] loss = \([^ ]*\) .*/\1/p' "$1/test.log" | tail -n 1 | awk '{ printf "  %.4f", $1 / log(2) }'
}

for seed in "$@"; do
  train "$out/dsd_$seed" --flow "$here/flow.toml" --seed "$seed"
  train "$out/control_$seed" --flow "$here/flow_control.toml" --seed "$seed" --weights "$(weights "$out/dsd_$seed/dense")"
done
for seed in "$@"; do
  printf '%4s ' "$seed"
  for phase in "dsd_$seed/dense" "dsd_$seed/sparse" "dsd_$seed/redense" "control_$seed/redense"; do
    bits "$out/$phase"
  done
  echo
done >"$out/table.txt"
echo "bits a character on the test part"
echo "seed    dense  sparse     DSD  control"
# The difference is taken seed by seed; its error is the standard deviation / root of their number.
awk '
  { print; for (k = 2; k <= 5; k++) sum[k] += $k; d[NR] = $4 - $5; total += d[NR] }
  END {
    printf "mean "
    for (k = 2; k <= 5; k++) printf "  %.4f", sum[k] / NR
    for (i = 1; i <= NR; i++) square += (d[i] - total / NR) ^ 2
    error = NR > 1 ? sprintf(" (standard error %.4f)", sqrt(square / (NR - 1) / NR)) : ""
    printf "\nDSD - control: %+.4f%s\n", total / NR, error
  }' "$out/table.txt"
