#!/usr/bin/env bash
# Makes the two databases that train_dsd.sh and test_released.sh read from ImageNet's raw pictures (ILSVRC 2012):
# 256 x 256, blue-green-red, the training pictures shuffled.
#
#   TRAIN_DIR=…/train VAL_DIR=…/val VAL_LIST=…/val.txt ./make_lmdbs.sh
#
# Environment:
#   DSD        the program (default: dsd on the PATH, else this repository's target/release/dsd)
#   TRAIN_DIR  a folder for each class: n01440764/*.JPEG …; label i is the i-th name (as in Caffe's synset list)
#   VAL_DIR    the validation pictures: ILSVRC2012_val_00000001.JPEG …, or again a folder for each class
#   VAL_LIST   their labels, a line "FILE LABEL" each, labels 0..999 (Caffe's val.txt); not with class folders
#   OUT        where the databases go (default: the working directory)
#   SIZE       pixels of both sides (default: 256)
#   SEED       of the shuffling (default: 1)
#   THREADS    default: all cores
#   FLAGS      more flags for both, such as --encoded --encode_type=jpg (smaller), --skip_unreadable
#
# A database that exists already is left as it is. Both together take 267 GB as pixels (49 pages of 4,096 bytes
# a picture), about a fifth of that as JPEG.
set -euo pipefail

die() { printf 'error: %s\n' "$*" >&2; exit 1; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dsd=${DSD:-$(command -v dsd || printf '%s' "$here/../../target/release/dsd")}
command -v "$dsd" >/dev/null || die "no dsd program at $dsd: cargo build --release, or set DSD"

[[ -n ${TRAIN_DIR:-} ]] || die "set TRAIN_DIR to the folder of the 1000 class folders"
[[ -n ${VAL_DIR:-} ]] || die "set VAL_DIR to the folder of the validation pictures"
[[ -d $TRAIN_DIR ]] || die "TRAIN_DIR: $TRAIN_DIR is no folder"
[[ -d $VAL_DIR ]] || die "VAL_DIR: $VAL_DIR is no folder"
val_list=${VAL_LIST:-}
if [[ -z $val_list ]]; then
  # Without a list the folders are the classes.
  first=$(find -L "$VAL_DIR" -mindepth 2 -maxdepth 2 -type f -name '*.JPEG' -print -quit)
  [[ -n $first ]] || die "set VAL_LIST to the labels of $VAL_DIR (val.txt of Caffe's get_ilsvrc_aux.sh)"
  val_list=$VAL_DIR
fi
[[ -e $val_list ]] || die "VAL_LIST: $val_list is not there"

out=${OUT:-.}
size=${SIZE:-256}
mkdir -p "$out"
flags=(--resize_height="$size" --resize_width="$size")
if [[ -n ${THREADS:-} ]]; then flags+=(--threads "$THREADS"); fi
read -r -a more <<<"${FLAGS:-}"
flags+=(${more[@]+"${more[@]}"})

# make DB [FLAG…] ROOT LIST
make() {
  local db=$out/$1
  if [[ -e $db ]]; then
    echo "$db: there already"
    return
  fi
  echo "$db: being made"
  "$dsd" convert_imageset "${flags[@]}" "${@:2}" "$db"
}

make ilsvrc12_val_lmdb "$VAL_DIR/" "$val_list"
make ilsvrc12_train_lmdb --shuffle --seed "${SEED:-1}" "$TRAIN_DIR/" "$TRAIN_DIR"

# Other orders of the classes would make every score wrong.
classes=$out/ilsvrc12_train_lmdb/classes.txt
if [[ -f $classes ]]; then
  n=$(wc -l <"$classes")
  if ((n != 1000)); then echo "warning: $TRAIN_DIR has $((n)) classes; ImageNet has 1000" >&2; fi
fi
echo "TRAIN_LMDB=$out/ilsvrc12_train_lmdb VAL_LMDB=$out/ilsvrc12_val_lmdb $here/train_dsd.sh"
