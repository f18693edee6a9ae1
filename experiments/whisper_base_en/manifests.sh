#!/bin/sh
# manifests.sh SPEECHOCEAN OUT: the recordings of SPEECHOCEAN/train.tsv (id, speaker, text; the sound
# in train/<id>.opus) as OUT/train.tsv, validation.tsv and test.tsv with audio, text and speaker.
# Nobody speaks in two of them: of the speakers in order of their numbers every tenth, from the first
# on, is in test, every twentieth, from the sixth on, in validation.
set -eu
folder=$(cd "$1" && pwd)
mkdir -p "$2"
for list in train validation test; do
    printf 'audio\ttext\tspeaker\n' > "$2/$list.tsv"
done
LC_ALL=C sort -t '	' -k 2,2 -k 1,1 "$folder/train.tsv" |
    awk -F '\t' -v folder="$folder" -v out="$2" '
    $2 != speaker { speaker = $2; n++ }
    {
        list = n % 10 == 1 ? "test" : n % 20 == 6 ? "validation" : "train"
        printf "%s/train/%s.opus\t%s\t%s\n", folder, $1, $3, $2 >> (out "/" list ".tsv")
    }'
