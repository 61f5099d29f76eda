#!/usr/bin/env bash
# From ImageNet's raw folders to the published line: the databases (make_lmdbs.sh), dense -> sparse -> re-dense
# (train_dsd.sh), `dsd test` over all validation pictures, and the comparison. Started again, it goes on where it stopped:
# a database, a phase or a test that is done is not done again.
#
#   ./reproduce.sh IMAGENET
#   ./reproduce.sh --from-deepcomp squeezenet_deepcomp.net IMAGENET     the re-dense phase alone, from the published 660 KB
#   ./reproduce.sh --dry_run …                                          say what would be done, and what it needs
#
# IMAGENET is the folder of
#   train/n01440764/*.JPEG …       a folder for each class
#   val/*.JPEG, with their labels  in one of val.txt ("FILE LABEL" lines, labels 0..999, or "FILE n01440764") or
#                                  LOC_val_solution.csv; or val/n01440764/*.JPEG …, which needs no list
#   synset_words.txt               if it is there (or synsets.txt, LOC_synset_mapping.txt), it is checked against train/
# or of Kaggle's tree: ILSVRC/Data/CLS-LOC/train and val, with the LOC_ files beside ILSVRC.
#
# Environment:
#   OUT                    where everything goes (default: ./dsd_run/squeezenet_v1.0_reproduced, with _deepcomp under
#                          --from-deepcomp): databases, phases, test.log
#   TRAIN_LMDB, VAL_LMDB   both together: databases that are there already, in place of IMAGENET
#   DSD, THREADS, and what make_lmdbs.sh (SIZE, SEED, FLAGS) and train_dsd.sh (SMOKE, UPDATES, BATCH, SPARSITY …) say
# Means: the net subtracts the published 104, 117, 123 (train_val.prototxt); no mean file is made.
set -euo pipefail

die() { printf 'error: %s\n' "$*" >&2; exit 1; }
usage() { printf 'error: %s\n' "$*" >&2; sed -n '6,8s/^# */  /p' "${BASH_SOURCE[0]}" >&2; exit 2; }
step() { printf '== %s\n' "$*"; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dry=0 deepcomp='' imagenet=''
while (($#)); do
  case $1 in
    --dry_run | --dry-run) dry=1 ;;
    --from-deepcomp | --from_deepcomp)
      (($# > 1)) || usage "--from-deepcomp needs a file"
      deepcomp=$2
      shift ;;
    --from-deepcomp=* | --from_deepcomp=*) deepcomp=${1#*=} ;;
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}"; exit 0 ;;
    -*) usage "unknown flag $1" ;;
    *)
      [[ -z $imagenet ]] || usage "one folder, please: $imagenet or $1?"
      imagenet=$1 ;;
  esac
  shift
done
dsd=${DSD:-$(command -v dsd || printf '%s' "$here/../../target/release/dsd")}
command -v "$dsd" >/dev/null || die "no dsd program at $dsd: cargo build --release, or set DSD"
if [[ -n $deepcomp ]]; then
  [[ -f $deepcomp ]] || die "--from-deepcomp: $deepcomp is not there (the file squeezenet_deepcomp.net of the SqueezeNet-Deep-Compression release)"
fi
out=${OUT:-dsd_run/squeezenet_v1.0_reproduced${deepcomp:+_deepcomp}}

# The first of some names that is there below IMAGENET.
first_of() {
  local name
  for name in "$@"; do
    if [[ -e $imagenet/$name ]]; then printf '%s' "$imagenet/$name"; return; fi
  done
}

# labels LIST CLASSES: the list as Caffe's "FILE LABEL" lines, on stdout; CLASSES has a synset a line, label i the i-th.
labels() {
  awk -v classes="$2" '
    BEGIN { while ((getline line < classes) > 0) number[line] = n++ }
    { sub(/\r$/, "") }
    NF == 0 { next }
    # Kaggle: ImageId,PredictionString: a file without its ending, and a synset and a box for each thing in the picture.
    FNR == 1 && /^ImageId,/ { kaggle = 1; next }
    kaggle { split($0, half, ","); split(half[2], word, " "); file = half[1] ".JPEG"; label = word[1] }
    !kaggle { file = label = $0; sub(/[ \t]+[^ \t]+[ \t]*$/, "", file); sub(/[ \t]+$/, "", label); sub(/.*[ \t]/, "", label) }
    label ~ /^n[0-9]+$/ {
      if (!(label in number)) { printf "%s:%d: %s is none of the classes of train/\n", FILENAME, FNR, label > "/dev/stderr"; exit 1 }
      label = number[label]
    }
    label !~ /^[0-9]+$/ { printf "%s:%d: expected FILE LABEL, found %s\n", FILENAME, FNR, $0 > "/dev/stderr"; exit 1 }
    { print file, label }' "$1"
}

class_folders() { (cd "$1" && find -L . -mindepth 1 -maxdepth 1 -type d | sed 's|^\./||' | LC_ALL=C sort); }

# Finds train_dir, val_dir and, if it needs one, val_list.
find_pictures() {
  train_dir=$(first_of train ILSVRC/Data/CLS-LOC/train)
  val_dir=$(first_of val ILSVRC/Data/CLS-LOC/val)
  [[ -d ${train_dir:-} ]] || die "$imagenet has no train/ (a folder for each class: train/n01440764/*.JPEG …)"
  [[ -d ${val_dir:-} ]] || die "$imagenet has no val/ (the validation pictures)"
  classes=$(class_folders "$train_dir")
  count=$(grep -c . <<<"$classes" || true)
  ((count > 0)) || die "$train_dir has no class folders; unpack the tar file of each class into a folder of its name"
  if ((count != 1000)); then echo "warning: $train_dir has $count classes; ImageNet has 1000" >&2; fi
  words=$(first_of synset_words.txt synsets.txt LOC_synset_mapping.txt)
  if [[ -n $words ]]; then
    diff <(cut -d ' ' -f 1 "$words" | tr -d '\r') - <<<"$classes" >/dev/null ||
      die "$words and the folders of $train_dir do not name the same classes in the same order: labels would be wrong"
  fi
  val_list=$(first_of val.txt LOC_val_solution.csv)
  if [[ -n $(find -L "$val_dir" -mindepth 2 -maxdepth 2 -type f -print -quit) ]]; then
    val_list='' # Its folders are the classes: make_lmdbs.sh numbers both sets by their names.
    diff <(class_folders "$val_dir") - <<<"$classes" >/dev/null ||
      die "$val_dir and $train_dir do not have the same class folders: labels would be wrong"
  elif [[ -z $val_list ]]; then
    die "$imagenet has neither val.txt nor LOC_val_solution.csv, and $val_dir no class folders: the validation labels are missing"
  fi
}

if [[ -n ${TRAIN_LMDB:-} && -n ${VAL_LMDB:-} ]]; then
  [[ -z $imagenet ]] || usage "IMAGENET, or TRAIN_LMDB and VAL_LMDB, not both"
  step "databases: $TRAIN_LMDB, $VAL_LMDB (given)"
else
  [[ -n $imagenet ]] || usage "name ImageNet's folder, or set TRAIN_LMDB and VAL_LMDB"
  [[ -d $imagenet ]] || die "$imagenet is no folder"
  TRAIN_LMDB=$out/ilsvrc12_train_lmdb VAL_LMDB=$out/ilsvrc12_val_lmdb
  if [[ -e $TRAIN_LMDB && -e $VAL_LMDB ]]; then
    step "databases: $TRAIN_LMDB, $VAL_LMDB (done)"
  else
    find_pictures
    if [[ -n $val_list ]]; then list=$(mktemp); trap 'rm -f "$list" "$list.classes"' EXIT
      printf '%s\n' "$classes" >"$list.classes"
      labels "$val_list" "$list.classes" >"$list" || die "the validation labels in $val_list cannot be used"
    fi
    step "databases: $TRAIN_LMDB, $VAL_LMDB from $train_dir ($count classes), $val_dir (labels: ${val_list:-its folders})"
    if ((!dry)); then
      DSD=$dsd TRAIN_DIR=$train_dir VAL_DIR=$val_dir VAL_LIST=${list:-} OUT=$out "$here/make_lmdbs.sh"
    fi
  fi
fi

if [[ -n $deepcomp ]]; then phases=redense; else phases=${PHASES:-dense sparse redense}; fi
step "phases: $phases${deepcomp:+ from $deepcomp}, then the test, in $out"
if [[ ! -e $TRAIN_LMDB || ! -e $VAL_LMDB ]]; then
  echo "what the phases need is printed once the databases are there"
  exit 0
fi
DSD=$dsd TRAIN_LMDB=$TRAIN_LMDB VAL_LMDB=$VAL_LMDB OUT=$out PHASES=$phases WEIGHTS=${deepcomp:-${WEIGHTS:-}} \
  DRY_RUN=$dry "$here/train_dsd.sh"
if ((dry)); then exit 0; fi

step "the result, and what the DSD release publishes"
score() { sed -n "s/.*\] $1 = \([^ ]*\).*/\1/p" "$out/test.log" | tail -n 1; }
for pair in accuracy_top1=0.617579 accuracy_top5=0.834742 loss=1.7059; do
  printf '%-14s ours %-9s published %s\n' "${pair%=*}" "$(score "${pair%=*}")" "${pair#*=}"
done
