#!/bin/sh
# The demo's data and configs with few pictures and single epochs, for tests of the whole program.
# usage: small_demo.sh FOLDER TRAIN TEST     so many pictures of each, below 65,536
configs=$(cd "$(dirname "$0")/../configs" && pwd)
set -e
mkdir -p "$1/data"
cd "$1"

# The first COUNT items of an idx file: its bytes 4 to 7 are their number.
# usage: cut_idx NAME COUNT BYTES     of the header behind that number and the items
cut_idx() {
    file=/usr/share/datasets/fashion-mnist/$1.gz
    {
        zcat "$file" | head -c 4
        printf "\\0\\0\\$(printf %03o $(($2 / 256)))\\$(printf %03o $(($2 % 256)))"
        zcat "$file" | tail -c +9 | head -c "$3"
    } >"data/$1"
}
cut_idx train-images-idx3-ubyte "$2" $((8 + 784 * $2))
cut_idx train-labels-idx1-ubyte "$2" "$2"
cut_idx t10k-images-idx3-ubyte "$3" $((8 + 784 * $3))
cut_idx t10k-labels-idx1-ubyte "$3" "$3"

for name in fashion_mnist fashion_mnist_teacher; do
    sed 's/"epochs": [0-9]*/"epochs": 1/g; s/"validation": 5000/"validation": '"$3"'/
         s|/usr/share/datasets/fashion-mnist|data|; s/"calibration_samples": 512/"calibration_samples": 64/' \
        "$configs/$name.json" >$name.json
done
cp "$configs/schema.json" .
