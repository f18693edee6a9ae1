#!/bin/sh
# lists.sh SPEECHOCEAN OUT: which recordings the student learns from, lines "sound<TAB>text<TAB>speaker".
# No speaker is in two lists.
#   OUT/test.tsv         every sixth speaker of speechocean762: the final figures
#   OUT/validation.tsv   every twelfth: settings and the best epoch
#   OUT/train.tsv        the others and, where Debian's asterisk-core-sounds-en-wav and
#                        asterisk-core-sounds-en are installed, their telephone prompts
set -eu
folder=$(cd "$1" && pwd)
out=$2
prompts=/usr/share/asterisk/sounds/en_US_f_Allison
texts=/usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz
mkdir -p "$out"

awk -F'\t' -v OFS='\t' -v folder="$folder" -v out="$out" '
    !($2 in place) { place[$2] = speakers++ % 12 }
    {
        list = place[$2] % 6 == 5 ? "test" : place[$2] == 0 ? "validation" : "train"
        print folder "/train/" $1 ".opus", $3, $2 > (out "/" list ".tsv")
    }' "$folder/train.tsv"

if [ -d "$prompts" ] && [ -f "$texts" ]; then
    zcat "$texts" | while IFS= read -r line; do
        sound=$prompts/${line%%: *}.wav
        case $line in
        *": ["* | ";"*) ;; # tones and comments
        *": "*) [ ! -f "$sound" ] || printf '%s\t%s\tprompts\n' "$sound" "${line#*: }" ;;
        esac
    done >> "$out/train.tsv"
else
    echo "without telephone prompts: asterisk-core-sounds-en-wav and asterisk-core-sounds-en are not installed" >&2
fi
