#!/bin/sh
# texts.sh NOVELS OUT [TRAIN [HELD]]: the texts of the experiment, from an archive of novels as Author_Title_Year.txt.
#   OUT/train        the novels of 28 authors, of each its first TRAIN bytes (default: 60000)
#   OUT/validation   of two others: the best epoch; of each novel its first HELD bytes (default: 16000)
#   OUT/test         of two others: the final figures
# No author is in two folders. Lines end with one line feed, and what is cut ends with a whole line.
set -eu
novels=$1 out=$2 train=${3:-60000} held=${4:-16000}

if [ ! -f "$novels" ]; then
    echo "$novels is not there: an archive of novels; DISTILL_DATA names the folder that holds" \
        "text/novels.tar.xz" >&2
    exit 66
fi
whole=$out/whole
rm -rf "$out/train" "$out/validation" "$out/test"
mkdir -p "$whole" "$out/train" "$out/validation" "$out/test"
tar -xJf "$novels" -C "$whole"

author= n=-1
for path in "$whole"/*.txt; do
    file=${path##*/}
    [ "${file%%_*}" = "$author" ] || n=$((n + 1)) author=${file%%_*}
    case $((n % 16)) in
    5) to=validation bytes=$held ;;
    11) to=test bytes=$held ;;
    *) to=train bytes=$train ;;
    esac
    # without the mark of UTF-8 and carriage returns
    sed -e '1s/^\xef\xbb\xbf//' -e 's/\r//g' "$path" |
        LC_ALL=C awk -v most="$bytes" '{ used += length($0) + 1 } used > most { exit } { print }' \
            > "$out/$to/$file"
done
rm -rf "$whole"
