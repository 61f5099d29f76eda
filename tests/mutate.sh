#!/bin/sh
# The full run of tests/mutations.rs: 1,000 broken nets and solvers, or as many as asked for.
#   tests/mutate.sh [COUNT]
set -eu
cd "$(dirname "$0")/.."
DSD_MUTATIONS="${1:-1000}" exec cargo test --test all mutations:: -- --nocapture
