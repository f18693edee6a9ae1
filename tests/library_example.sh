#!/bin/sh
# Installs the library below FOLDER, builds docs/example/classify.c against it as its comment says,
# with the shared library and with the archive, and compares their answers with `distill run`'s.
# usage: library_example.sh FOLDER MODEL PICTURE
set -e
prefix=$1/usr model=$2 picture=$3
MAKEFLAGS= make -s install PREFIX="$prefix" >/dev/null
foreign=$(nm -D --defined-only "$prefix"/lib/libdistill.so | awk '$2 == "T" && $3 !~ /^distill_/ {print $3}')
[ -z "$foreign" ] || { echo "the library shows $foreign"; exit 1; }
flags() { PKG_CONFIG_PATH=$prefix/lib/pkgconfig pkg-config --cflags --libs "$@" distill; }
${CC:-cc} -std=c99 -Wall -Wextra -Wpedantic -Werror -o "$1/shared" docs/example/classify.c $(flags)
${CC:-cc} -o "$1/static" docs/example/classify.c -I"$prefix/include" "$prefix/lib/libdistill.a" \
    $(flags --static | sed 's/-ldistill//')
expected=$("$prefix/bin/distill" run "$model" "$picture" --top 1 | awk '{print $2, $3}')
for kind in shared static; do
    answer=$(LD_LIBRARY_PATH=$prefix/lib "$1/$kind" "$model" "$picture" | cut -f 2)
    [ "$answer" = "$expected" ] || { echo "$kind: '$answer', not '$expected'"; exit 1; }
done
