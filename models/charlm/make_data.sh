#!/bin/sh
# Makes the data that the charlm net reads: Ambrose Bierce's "The Devil's Dictionary" (1911; in the public domain) as Debian's
# package dict-devil ships it, cut into train, val and test by `dsd convert_text`.
#
#   ./make_data.sh [TEXT_FILE]      another text instead: then write its number of characters (vocabulary.txt) into the nets
#
# Environment:
#   DSD      the program (default: dsd on the PATH, else this repository's target/release/dsd)
#   DEVIL    Debian's file, compressed (default: /usr/share/dictd/devil.dict.dz, else apt-get download fetches the package)
#   OUT      the folder to make (default: devil, in this script's folder, where the nets look for it)
set -eu

die() { printf 'error: %s\n' "$*" >&2; exit 1; }

here=$(cd "$(dirname "$0")" && pwd)
dsd=${DSD:-$(command -v dsd || printf '%s' "$here/../../target/release/dsd")}
command -v "$dsd" >/dev/null || die "no dsd program at $dsd: cargo build --release, or set DSD"
out=${OUT:-$here/devil}
if [ -e "$out" ]; then
  echo "$out: there already"
  exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ $# -gt 0 ]; then
  text=$1
  [ -f "$text" ] || die "$text is not there"
else
  devil=${DEVIL:-/usr/share/dictd/devil.dict.dz}
  if [ ! -f "$devil" ]; then
    [ -z "${DEVIL:-}" ] || die "DEVIL: $DEVIL is not there"
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
      die "no $devil: install Debian's package dict-devil, or set DEVIL to that file of it, or name a text"
    chmod 755 "$work"
    (cd "$work" && apt-get -q download dict-devil >&2) || die "apt-get cannot download dict-devil; apt-get update may help"
    dpkg-deb -x "$work"/dict-devil_*.deb "$work"
    devil=$work/usr/share/dictd/devil.dict.dz
  fi
  # The book itself, without the package's head and the alphabet at its end.
  text=$work/devil.txt
  gzip -dc <"$devil" | sed -n -e '/^ *abcdefghijklmnopqrstuvwxyz$/q' -e '/^ *PREFACE$/,$p' >"$text"
  # RESULTS.md is of this text: cksum is the one sum that every system has.
  sum=$(cksum <"$text")
  [ "$sum" = "2182533542 382710" ] ||
    echo "warning: this is another edition of the text (cksum $sum); results will differ" >&2
fi
"$dsd" convert_text --streams 16 --steps 32 --val 0.1 --test 0.1 "$text" "$out"
