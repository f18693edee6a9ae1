#!/bin/sh
# Other processors give this one's bits: the runner and, where an Arm root is, the program, under qemu.
# What cannot be tried here for want of a package is named and skipped.
# usage: arm_test.sh PROGRAM [BLOB IMAGES]     BLOB: an exported model; IMAGES: an idx file (.gz or not)
program=$1 blob=$2 images=$3
out=build/arm_test
count=${COUNT:-100}
failed=0
mkdir -p "$out"

skip() {
    echo "SKIP $1: needs Debian's $2"
}
check() { # name, what it printed
    if [ "$2" = "$expected" ]; then
        echo "$1: the same bits"
    else
        echo "$1: FAILED: \"$2\", should be \"$expected\""
        failed=1
    fi
}

# Without the demo's: an untrained ResNet-8 on bytes of the program's own.
if [ ! -f "$blob" ]; then
    blob=$out/resnet8.gguf
    "$program" bench --export "$blob" >/dev/null || exit 1
    head -c $((16 + 3072 * 3)) "$program" >"$out/images"
    count=3
elif [ "${images%.gz}" != "$images" ]; then
    gzip -dc "$images" >"$out/images"
else
    cp "$images" "$out/images"
fi

flags="-std=c99 -O2 -Wall -Wextra -Wpedantic -Wconversion -Iruntime tests/runner_probe.c runtime/*.c"
# shellcheck disable=SC2086
${HOST_CC:-cc} $flags -o "$out/here" -lm || exit 1
expected=$("$out/here" "$blob" "$out/images" "$count") || exit 1 # the kernel's name goes to stderr
echo "this processor: $expected"

# name, compiler, its options, how it is run, packages
other() {
    if ! command -v "$2" >/dev/null || { [ -n "$4" ] && ! command -v "$4" >/dev/null; } ||
        ! echo 'int main(void) { return 0; }' | $2 $3 -static -x c - -o "$out/empty" 2>/dev/null; then
        skip "$1" "$5"
        return
    fi
    # shellcheck disable=SC2086
    $2 $3 -static $flags -o "$out/$1" -lm || { failed=1; return; }
    check "$1" "$($4 "$out/$1" "$blob" "$out/images" "$count" 2>/dev/null)"
}
other musl musl-gcc "" "" musl-tools
other 32-bit-x86 gcc -m32 "" gcc-multilib
grep -qw avx2 /proc/cpuinfo && other avx2 gcc -mavx2 "" gcc
arm64="gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user"
other aarch64 aarch64-linux-gnu-gcc "" qemu-aarch64 "$arm64"
other dotprod aarch64-linux-gnu-gcc -march=armv8.2-a+dotprod qemu-aarch64 "$arm64"
other i8mm aarch64-linux-gnu-gcc -march=armv8.2-a+i8mm qemu-aarch64 "$arm64"
other armhf arm-linux-gnueabihf-gcc "" qemu-arm "gcc-arm-linux-gnueabihf libc6-dev-armhf-cross qemu-user"

# A firmware for Cortex-M4 with a picture or more in flash.
if command -v arm-none-eabi-gcc >/dev/null && command -v qemu-system-arm >/dev/null &&
    [ -f /usr/lib/arm-none-eabi/newlib/libc.a ]; then
    m4="-mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16"
    "$program" export "$blob" --c-array "$out/model.h" || exit 1
    pictures=$count
    [ "$pictures" -gt 100 ] && pictures=100
    sh tests/runner_pictures.sh "$out/images" "$pictures" >"$out/pictures.h"
    expected=$("$out/here" "$blob" "$out/images" "$pictures" 2>/dev/null | sed 's/, classes.*//')
    for level in -Os -O2; do
        # shellcheck disable=SC2086
        arm-none-eabi-gcc -std=c99 $level $m4 -ffunction-sections -fdata-sections -Iruntime -I"$out" \
            -nostartfiles -Wl,--gc-sections -T docs/example/cortex_m/mps2.ld -o "$out/firmware" \
            docs/example/cortex_m/*.c runtime/*.c -lm || exit 1
        line=$(timeout 300 qemu-system-arm -M mps2-an386 -nographic -semihosting -icount shift=0 \
            -kernel "$out/firmware" </dev/null | tail -1)
        check "Cortex-M4 $level" "${line%%, at most*}"
        # The board's counter runs at 25 MHz, an instruction takes 1 ns.
        echo "$line" | sed 's/.*at most \([0-9]*\) ticks each, \(.*\)/\1 \2/' | {
            read -r ticks stack
            echo "    $((ticks * 40)) instructions a picture, $stack"
        }
    done
else
    skip Cortex-M4 "gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm"
fi

# The program's own kernels, in tests that were cross-compiled (make arm-test does it).
root=build/arm64-root
for test in build/aarch64-linux-gnu/release/test_*; do
    case $test in *.d) continue ;; esac
    [ -x "$test" ] || { skip "the program on aarch64" "arm64 packages: make arm-root"; break; }
    log=$out/${test##*/}.log
    if OMP_NUM_THREADS=1 qemu-aarch64 -L "$root" -E LD_LIBRARY_PATH="$(pwd)/$root/usr/lib/aarch64-linux-gnu/openblas-openmp" \
        "$test" >"$log" 2>&1; then
        echo "aarch64 ${test##*/}: $(grep -c '^\[       OK' "$log") passed$(sed -n 's/^SKIP/; skipped/p' "$log")"
    else
        tail -20 "$log"
        echo "aarch64 ${test##*/}: FAILED"
        failed=1
    fi
done
exit $failed
