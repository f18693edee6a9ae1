#!/bin/sh
# manifests.sh RECORDINGS OUT: lists of <digit>_<speaker>_<n>.flac, lines "file<TAB>digit":
#   OUT/train.tsv, OUT/test.tsv            four speakers; the two that are never trained on
#   OUT/without_NAME/train.tsv, test.tsv   to choose settings by: the other three of the four; NAME
set -eu
train_speakers="george jackson lucas nicolas"
test_speakers="theo yweweler"
folder=$(cd "$1" && pwd)

list() { # FILE SPEAKER…
    out=$1
    shift
    mkdir -p "${out%/*}"
    for speaker; do
        for file in "$folder"/[0-9]_"$speaker"_*.flac; do
            digit=${file##*/}
            printf '%s\t%s\n' "$file" "${digit%%_*}"
        done
    done > "$out"
}

list "$2/train.tsv" $train_speakers
list "$2/test.tsv" $test_speakers
for name in $train_speakers; do
    list "$2/without_$name/train.tsv" $(echo "$train_speakers" | sed "s/$name//")
    list "$2/without_$name/test.tsv" "$name"
done
