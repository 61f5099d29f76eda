#!/bin/sh
# 5,000 damaged LMDBs, or as many as asked for, are read to their ends: each is an error at worst, never a signal.
#   tests/soak/lmdb.sh [COUNT]
set -eu
cd "$(dirname "$0")/../.."
DSD_LMDB_MUTATIONS="${1:-5000}" exec cargo test --lib damaged_databases -- --nocapture
