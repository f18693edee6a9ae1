#!/bin/sh
# The demo on a few pictures, in a build with sanitizers: any finding ends it.
# usage: sanitized_demo.sh PROGRAM     from the project's top; leaves build/sanitized
program=$(pwd)/$1
set -e
rm -rf build/sanitized
sh tests/small_demo.sh build/sanitized 1250 250
cd build/sanitized
"$program" train fashion_mnist.json --runs runs
cd runs/fashion_mnist
"$program" verify store qat.int8.last.h5 student.int8.gguf
"$program" inspect student.int8.gguf
"$program" run student.int8.gguf ../../data/t10k-images-idx3-ubyte:0
