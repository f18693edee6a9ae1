#!/bin/sh
# sentences.sh SST2_TRAIN OUT: SENTENCES (20,000) of SST-2's training sentences, evenly over the table, to
# OUT/sst2_train.tsv, and 1,000 others to OUT/sst2_validation.tsv. SST2_TRAIN is train.tsv, or with .gz.
set -eu
if [ ! -f "$1" ]; then
    echo "$1 is not there: train.tsv of SST-2 (gluebenchmark.com)" >&2
    exit 66
fi
mkdir -p "$2"
lines=$(gzip -cdf "$1" | wc -l)
held=$((lines / ${HELD:-1000}))
step=$((lines / ${SENTENCES:-20000}))
gzip -cdf "$1" | awk "NR == 1 || NR % $held == 0" > "$2/sst2_validation.tsv"
gzip -cdf "$1" | awk "NR == 1 || (NR % $step == 1 && NR % $held != 0)" > "$2/sst2_train.tsv"
