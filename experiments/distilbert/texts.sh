#!/bin/sh
# texts.sh NOVELS OUT: novels by author, no author in two lists, and no more than is read in two hours.
#   OUT/train       the first 60,000 bytes behind the first 20,000 of each of the other authors' novels
#   OUT/validation  as much of one of Kipling and of one of Lawrence
#   OUT/test        of one of Hardy, of one of Thackeray: the final figures
# NOVELS is a folder of AUTHOR_TITLE_YEAR.txt, or a .tar.xz of such files.
set -eu
novels=$1
out=$2

if [ ! -e "$novels" ]; then
    echo "$novels is not there: English novels, as in computationalstylistics/100_english_novels on GitHub" >&2
    exit 66
fi
mkdir -p "$out/train" "$out/validation" "$out/test"
if [ -f "$novels" ]; then
    mkdir -p "$out/all"
    tar -xJf "$novels" -C "$out/all"
    novels=$out/all
fi

# The middle of a book: its first pages are titles and prefaces. Words are cut at no byte of a letter.
part() {
    tail -c +20001 "$1" | head -c "$BYTES" | { iconv -c -f UTF-8 -t UTF-8 || true; } > "$2/$(basename "$1")"
}

BYTES=${BYTES:-60000}
for file in "$novels"/*.txt; do
    case $(basename "$file") in
    Hardy_* | Thackeray_*) list=test ;;
    Kipling_* | Lawrence_*) list=validation ;;
    *) list=train ;;
    esac
    part "$file" "$out/$list"
done
