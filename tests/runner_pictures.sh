#!/bin/sh
# The first pictures of an idx file as a header in C, for docs/example/cortex_m.
# usage: runner_pictures.sh IMAGES COUNT     IMAGES: an idx file, not compressed
size=$(od -An -tu1 -j8 -N8 "$1" | awk '{print $4 * $8 + 256 * ($3 * $8 + $4 * $7)}')
echo "#include <stdint.h>"
echo "enum { PICTURES = $2 };"
echo "static const uint8_t pictures[] = {"
od -An -v -tu1 -j16 -N$((size * $2)) "$1" | sed 's/  */,/g; s/^,//; s/$/,/'
echo "};"
