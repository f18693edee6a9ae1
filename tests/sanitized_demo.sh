#!/bin/sh
# The demo on a few pictures, in a build with sanitizers: any finding ends it.
# usage: sanitized_demo.sh PROGRAM     from the project's top; leaves build/sanitized
program=$(pwd)/$1
set -e
rm -rf build/sanitized
mkdir -p build/sanitized/data
cd build/sanitized

# The first COUNT (below 65,536) items of an idx file: its bytes 4 to 7 are their number.
# usage: cut_idx NAME COUNT BYTES     of the header behind that number and the items
cut_idx() {
    file=/usr/share/datasets/fashion-mnist/$1.gz
    {
        zcat "$file" | head -c 4
        printf "\\0\\0\\$(printf %03o $(($2 / 256)))\\$(printf %03o $(($2 % 256)))"
        zcat "$file" | tail -c +9 | head -c "$3"
    } >"data/$1"
}
cut_idx train-images-idx3-ubyte 1250 $((8 + 784 * 1250))
cut_idx train-labels-idx1-ubyte 1250 1250
cut_idx t10k-images-idx3-ubyte 250 $((8 + 784 * 250))
cut_idx t10k-labels-idx1-ubyte 250 250

for name in fashion_mnist fashion_mnist_teacher; do
    sed 's/"epochs": [0-9]*/"epochs": 1/g; s/"validation": 5000/"validation": 250/
         s|/usr/share/datasets/fashion-mnist|data|; s/"calibration_samples": 512/"calibration_samples": 64/' \
        ../../configs/$name.json >$name.json
done
cp ../../configs/schema.json .
"$program" train fashion_mnist.json --runs runs
cd runs/fashion_mnist
"$program" verify store qat.int8.last.h5 student.int8.gguf
"$program" inspect student.int8.gguf
"$program" run student.int8.gguf ../../data/t10k-images-idx3-ubyte:0
