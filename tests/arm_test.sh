#!/bin/sh
# Other processors give this one's bits: the runner (processors.sh) and, where the root of one is
# (make arm-root, make i386-root), tests of the program that were built for it.
# usage: arm_test.sh [BLOB IMAGES]     BLOB: an exported model; IMAGES: an idx file (.gz or not)
failed=0
out=build/arm_test
mkdir -p $out
sh tests/processors.sh "$@" || failed=1

# processor, its root, what the tests are run by
program_on() {
    for test in build/"$1"/release/test_*; do
        case $test in *.d) continue ;; esac
        [ -x "$test" ] || { echo "SKIP the program on $1: it is not built (make arm-root, make i386-root)"; return; }
        name=${test##*/}
        # shellcheck disable=SC2086
        if OMP_NUM_THREADS=1 $3 "$test" >"$out/$name.log" 2>&1; then
            echo "$1 $name: $(grep -c '^\[       OK' "$out/$name.log") passed$(sed -n 's/^SKIP/; skipped/p' "$out/$name.log")"
        else
            tail -20 "$out/$name.log"
            echo "$1 $name: FAILED"
            failed=1
        fi
    done
}
root=build/arm64-root
program_on aarch64-linux-gnu $root \
    "qemu-aarch64 -L $root -E LD_LIBRARY_PATH=$(pwd)/$root/usr/lib/aarch64-linux-gnu/openblas-openmp"
root=build/i386-root
libraries=$root/usr/lib/i386-linux-gnu
libraries=$libraries:$libraries/openblas-openmp:$root/lib/i386-linux-gnu
loader="$root/lib/ld-linux.so.2 --library-path $libraries"
$root/lib/ld-linux.so.2 --version >/dev/null 2>&1 || loader="qemu-i386 $loader"
program_on i686-linux-gnu $root "$loader"
exit $failed
