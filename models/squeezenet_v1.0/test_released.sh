#!/usr/bin/env bash
# Tests the released DSD weights on the ImageNet validation set and compares with the published log.
#
#   VAL_LMDB=… ./test_released.sh [DSD_SqueezeNet_top1_0.617579_top5_0.834742.caffemodel]
#
# Exit code 0: the published figures, or as near as another machine's arithmetic and JPEG decoder leave them.
#
# Environment:
#   DSD       the program (default: dsd on the PATH, else this repository's target/release/dsd)
#   VAL_LMDB  the 50,000 validation pictures, resized to 256 x 256, labels 0..999
#   WEIGHTS   the released file, if not given as the argument (default: its name, in the working directory)
#   OUT       where the log goes (default: ./dsd_run/squeezenet_v1.0_released)
#   THREADS   default: all cores
set -euo pipefail

blob_id=ffce3635e4a837e7bc783fea3f48fcc48a1e93a6
file_name=DSD_SqueezeNet_top1_0.617579_top5_0.834742.caffemodel
origin=https://github.com/songhan/SqueezeNet-DSD-Training

die() { printf 'error: %s\n' "$*" >&2; exit 1; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
weights=${1:-${WEIGHTS:-$file_name}}
out=${OUT:-dsd_run/squeezenet_v1.0_released}
dsd=${DSD:-$(command -v dsd || printf '%s' "$here/../../target/release/dsd")}
command -v "$dsd" >/dev/null || die "no dsd program at $dsd: cargo build --release, or set DSD"
[[ -f $weights ]] || die "no weights at $weights: download $file_name from $origin"

# The id git gives the file's content, with or without git.
git_blob_id() {
  if command -v git >/dev/null; then
    git hash-object --no-filters -- "$1"
  else
    { printf 'blob %d\0' "$(wc -c <"$1")"; cat -- "$1"; } |
      if command -v sha1sum >/dev/null; then sha1sum; else shasum; fi | cut -d ' ' -f 1
  fi
}
found=$(git_blob_id "$weights")
if [[ $found != "$blob_id" ]]; then
  die "$weights is not the released file: its git blob id is $found, expected $blob_id." \
    "Download it again from $origin (the raw file, not the web page about it)."
fi
echo "weights: $weights is the released file (git blob $blob_id)"

[[ -n ${VAL_LMDB:-} ]] || die "set VAL_LMDB to the LMDB of the 50,000 validation pictures"
[[ -e $VAL_LMDB ]] || die "VAL_LMDB: $VAL_LMDB is not there"
threads=()
if [[ -n ${THREADS:-} ]]; then threads=(--threads "$THREADS"); fi

# As Caffe, the program logs to stderr. tee -i: Ctrl-C stops the program, which still has things to say.
mkdir -p "$out"
"$dsd" test --model "$here/train_val.prototxt" --weights "$weights" --source "$VAL_LMDB" --iterations 1000 \
  ${threads[@]+"${threads[@]}"} 2>&1 | tee -i "$out/test.log"

# The summary line of an output, not one of its batch lines: "…] NAME = V".
score() { sed -n "s/.*\] $1 = \([^ ]*\).*/\1/p" "$out/test.log" | tail -n 1; }

# compare NAME PUBLISHED TOLERANCE: 0.0002 is 10 of the 50,000 pictures.
verdict=0
compare() {
  local ours
  ours=$(score "$1")
  [[ -n $ours ]] || die "the log $out/test.log has no line \"$1 = …\""
  awk -v name="$1" -v ours="$ours" -v published="$2" -v tolerance="$3" 'BEGIN {
    number = ours ~ /^[-+]?[0-9.]+([eE][-+]?[0-9]+)?$/
    d = ours - published
    word = ours == published ? "same" : number && d <= tolerance && -d <= tolerance ? "near" : "DIFFERENT"
    printf "%-14s ours %-9s published %-9s %s\n", name, ours, published, word
    exit word == "DIFFERENT"
  }' || verdict=1
}
echo
compare accuracy_top1 0.617579 0.0002
compare accuracy_top5 0.834742 0.0002
compare loss 1.7059 0.001
if [[ $verdict == 0 ]]; then
  echo "verdict: the published result is reproduced"
else
  echo "verdict: NOT the published result; check that VAL_LMDB holds all 50,000 pictures, resized to 256 x 256, in Caffe's label order"
fi
exit "$verdict"
