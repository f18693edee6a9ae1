#!/bin/sh
# manifests.sh RECORDINGS OUT: lists "file<TAB>digit" of <digit>_<speaker>_<n>.flac, as TSV files:
#   train.tsv, test.tsv          four speakers; the two that are never trained on
#   train-NAME.tsv, NAME.tsv     for choosing settings: the other three of the four; NAME
set -eu
test_speakers="theo yweweler"
train_speakers="george jackson lucas nicolas"

folder=$(cd "$1" && pwd)
mkdir -p "$2"

list() { # of these speakers
    for speaker; do
        for file in "$folder"/[0-9]_"$speaker"_*.flac; do
            digit=${file##*/}
            printf '%s\t%s\n' "$file" "${digit%%_*}"
        done
    done
}

list $train_speakers > "$2/train.tsv"
list $test_speakers > "$2/test.tsv"
for held_out in $train_speakers; do
    list "$held_out" > "$2/$held_out.tsv"
    list $(echo "$train_speakers" | sed "s/$held_out//") > "$2/train-$held_out.tsv"
done
