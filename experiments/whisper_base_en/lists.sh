#!/bin/sh
# lists.sh SPEECHOCEAN OUT: which recordings the student learns from, and no speaker is in two lists.
#   OUT/test.tsv         every tenth speaker of speechocean762: the final figures
#   OUT/validation.tsv   every twentieth: settings and the best epoch
#   OUT/train.tsv        the others
#   OUT/prompts.tsv      telephone prompts, to learn from as well, where Debian's
#                        asterisk-core-sounds-en-wav and asterisk-core-sounds-en are installed
set -eu
folder=$(cd "$1" && pwd)
out=$2
prompts=/usr/share/asterisk/sounds/en_US_f_Allison
texts=/usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz
mkdir -p "$out"

for list in test validation train prompts; do
    printf 'audio\ttext\tspeaker\n' > "$out/$list.tsv"
done

awk -F'\t' -v OFS='\t' -v folder="$folder" -v out="$out" '
    !($2 in place) { place[$2] = speakers++ }
    {
        n = place[$2]
        list = n % 10 == 0 ? "test" : n % 20 == 5 ? "validation" : "train"
        print folder "/train/" $1 ".opus", $3, $2 >> (out "/" list ".tsv")
    }' "$folder/train.tsv"

if [ ! -d "$prompts" ] || [ ! -f "$texts" ]; then
    echo "no prompts: asterisk-core-sounds-en-wav and asterisk-core-sounds-en are not installed" >&2
    exit
fi
zcat "$texts" | while IFS= read -r line; do
    sound=$prompts/${line%%: *}.wav
    case $line in
    *": ["* | ";"*) ;; # tones and comments
    *": "*) [ ! -f "$sound" ] || printf '%s\t%s\tprompts\n' "$sound" "${line#*: }" ;;
    esac
done >> "$out/prompts.tsv"
