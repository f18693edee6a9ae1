#!/bin/sh
# Blobs as a header in C, for runner_sums.c in a firmware.
# usage: runner_blobs.sh BLOB...
n=0
echo "#include <stddef.h>"
for blob in "$@"; do
    echo "static const unsigned char blob$n[] = {"
    od -An -v -tu1 "$blob" | sed 's/  */,/g; s/^,//; s/$/,/'
    echo "};"
    n=$((n + 1))
done
echo "static const struct { const unsigned char *bytes; size_t length; } blobs[] = {"
i=0
while [ $i -lt $n ]; do
    echo "{blob$i, sizeof blob$i},"
    i=$((i + 1))
done
echo "};"
