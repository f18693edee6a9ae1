#!/bin/sh
# lists.sh DATA OUT: what the zoo's students calibrate on, choose by and are measured on.
#   OUT/{train,validation,test}.tsv   speechocean762, no speaker in two of them
#   OUT/{train,validation,test}.txt   two novels; WikiText-2's validation part
set -eu
data=$(cd "$1" && pwd)
out=$2
mkdir -p "$out"
for list in test validation train; do printf 'audio\ttext\tspeaker\n' > "$out/$list.tsv"; done
awk -F'\t' -v OFS='\t' -v folder="$data/speech/speechocean762" -v out="$out" '
    !($2 in place) { place[$2] = speakers++ }
    {
        n = place[$2]
        list = n < 6 ? "train" : n < 8 ? "validation" : n < 28 ? "test" : ""
        if (list != "" && (list != "test" || said[$2]++ < 2))
            print folder "/train/" $1 ".opus", $3, $2 >> (out "/" list ".tsv")
    }' "$data/speech/speechocean762/train.tsv"

# Whole lines up to so many bytes.
cut_text() {
    awk -v most="$1" '{ sum += length($0) + 1; if (sum > most) exit; print }'
}
tar -xJOf "$data/text/novels.tar.xz" --wildcards '*Bennet_Helen_1910.txt' | cut_text 60000 > "$out/train.txt"
tar -xJOf "$data/text/novels.tar.xz" --wildcards '*Barclay_Postern_1911.txt' | cut_text 6000 > "$out/validation.txt"
cut_text 12000 < "$data/text/wikitext2_valid.txt" > "$out/test.txt"
