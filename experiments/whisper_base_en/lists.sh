#!/bin/sh
# lists.sh SPEECHOCEAN OUT: which recordings the student learns from, and no speaker is in two lists.
#   OUT/test.tsv         every tenth speaker of speechocean762: the final figures
#   OUT/validation.tsv   every twentieth: settings and the best epoch
#   OUT/train.tsv        the others
#   OUT/prompts.tsv      telephone prompts, to learn from as well: those of Debian's
#                        asterisk-core-sounds-en-wav and asterisk-core-sounds-en
set -eu
out=$2
prompts=/usr/share/asterisk/sounds/en_US_f_Allison
texts=/usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz

if [ ! -f "$1/train.tsv" ]; then
    echo "$1/train.tsv is not there: speechocean762 as lists and Opus files; DISTILL_DATA names the" \
        "folder that holds speech/speechocean762" >&2
    exit 66
fi
if [ ! -d "$prompts" ] || [ ! -f "$texts" ]; then
    echo "the telephone prompts are not there: install Debian's asterisk-core-sounds-en-wav and" \
        "asterisk-core-sounds-en, or leave prompts.tsv out of data.train in" \
        "configs/whisper_base_en.json" >&2
    exit 66
fi
folder=$(cd "$1" && pwd)
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

zcat "$texts" | while IFS= read -r line; do
    sound=$prompts/${line%%: *}.wav
    case $line in
    *": ["* | ";"*) ;; # tones and comments
    *": "*) [ ! -f "$sound" ] || printf '%s\t%s\tprompts\n' "$sound" "${line#*: }" ;;
    esac
done >> "$out/prompts.tsv"
