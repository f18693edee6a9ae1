#!/bin/sh
# The runner on other processors, under qemu: the bits that it has here, of every blob of test_runner and of
# a model with pictures. Prints as cmocka does; what cannot be tried for want of a package is skipped by name.
# usage: processors.sh [BLOB IMAGES]     BLOB: an exported model; IMAGES: an idx file (.gz or not); COUNT of them
# Without them an untrained ResNet-8 and bytes of the program's own.
program=build/distill blob=$1 images=$2
out=build/processors
count=${COUNT:-100}
failed=0
rm -rf $out
mkdir -p $out/blobs

ok() {
    echo "[       OK ] $1"
}
bad() {
    echo "[  FAILED  ] $1"
    failed=1
}
skip() { # name, packages
    echo "SKIP $1: needs Debian's $2"
    echo "[  SKIPPED ] $1"
}
check() { # name, what should be printed, what was
    if [ "$2" = "$3" ]; then
        ok "$1"
    else
        echo "\"$3\", should be \"$2\""
        bad "$1"
    fi
}

KD_KEEP_BLOBS=$out/blobs build/release/test_runner >$out/test_runner.log 2>&1 || exit 1
if [ ! -f "$blob" ]; then
    blob=$out/resnet8.gguf
    "$program" bench --export $blob >/dev/null || exit 1
    printf '\000\000\010\003\000\000\000\003\000\000\000\040\000\000\000\140' >$out/images # 3 of 32 by 32·3 bytes
    head -c $((3072 * 3)) "$program" >>$out/images
    count=3
elif [ "${images%.gz}" != "$images" ]; then
    gzip -dc "$images" >$out/images
else
    cp "$images" $out/images
fi

flags="-std=c99 -O2 -Wall -Wextra -Wpedantic -Wconversion -Iruntime runtime/*.c"
# shellcheck disable=SC2086
build() { # compiler, its options, program
    $1 $2 $flags "tests/runner_$3.c" -o "$4" -lm
}
build "${HOST_CC:-cc}" "" probe $out/here && build "${HOST_CC:-cc}" "" sums $out/here_sums || exit 1
pictures=$($out/here "$blob" $out/images "$count" 2>/dev/null) || exit 1
sums=$($out/here_sums $out/blobs/*.gguf)
if echo "$sums" | grep -q '^0*$'; then exit 1; fi
echo "$(echo "$sums" | wc -l) blobs; $pictures"

# name, compiler, its options, how it is run, packages
other() {
    if ! command -v "$2" >/dev/null || { [ -n "$4" ] && ! command -v "$4" >/dev/null; } ||
        ! echo 'int main(void) { return 0; }' | $2 $3 -static -x c - -o $out/empty 2>/dev/null; then
        skip "$1" "$5"
        return
    fi
    if build "$2" "$3 -static" probe "$out/$1" && build "$2" "$3 -static" sums "$out/$1.sums"; then
        check "$1, pictures" "$pictures" "$($4 "$out/$1" "$blob" $out/images "$count" 2>/dev/null)"
        check "$1, blobs" "$sums" "$($4 "$out/$1.sums" $out/blobs/*.gguf)"
    else
        bad "$1"
    fi
}
other musl musl-gcc "" "" musl-tools
if grep -qw avx2 /proc/cpuinfo; then other avx2 gcc -mavx2 "" gcc; fi
# Many kernels for x86-64 run 32-bit programs, too.
i386=qemu-i386
if echo 'int main(void) { return 0; }' | i686-linux-gnu-gcc -static -x c - -o $out/empty 2>/dev/null &&
    $out/empty 2>/dev/null; then i386=; fi
other i686 i686-linux-gnu-gcc "" "$i386" "gcc-i686-linux-gnu qemu-user"
other i686-sse2 i686-linux-gnu-gcc "-msse2 -mfpmath=sse" "$i386" "gcc-i686-linux-gnu qemu-user"
arm64="gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user"
other aarch64 aarch64-linux-gnu-gcc "" qemu-aarch64 "$arm64"
other dotprod aarch64-linux-gnu-gcc -march=armv8.2-a+dotprod qemu-aarch64 "$arm64"
other i8mm aarch64-linux-gnu-gcc -march=armv8.2-a+i8mm qemu-aarch64 "$arm64"
other armhf arm-linux-gnueabihf-gcc "" qemu-arm "gcc-arm-linux-gnueabihf libc6-dev-armhf-cross qemu-user"

# Firmwares for a Cortex-M4: one with a picture or more in flash, one with the blobs.
board() { # level, programs, output
    # shellcheck disable=SC2086
    arm-none-eabi-gcc -std=c99 $1 -mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16 \
        -ffunction-sections -fdata-sections -Iruntime -I$out -nostartfiles -Wl,--gc-sections \
        -T docs/example/cortex_m/mps2.ld -o "$out/firmware" $2 docs/example/cortex_m/start.c runtime/*.c -lm &&
        timeout 300 qemu-system-arm -M mps2-an386 -nographic -semihosting -icount shift=0 \
            -kernel "$out/firmware" </dev/null >"$3" 2>&1
}
if command -v arm-none-eabi-gcc >/dev/null && command -v qemu-system-arm >/dev/null &&
    [ -f /usr/lib/arm-none-eabi/newlib/libc.a ]; then
    "$program" export "$blob" --c-array $out/model.h || exit 1
    if [ "$count" -gt 100 ]; then count=100; fi
    sh tests/runner_pictures.sh $out/images "$count" >$out/pictures.h
    small=$(find $out/blobs -name '*.gguf' -size -100k | sort) # what the board's flash holds
    # shellcheck disable=SC2086
    sh tests/runner_blobs.sh $small >$out/blobs.h
    pictures=$($out/here "$blob" $out/images "$count" 2>/dev/null | sed 's/, classes.*//')
    for level in -Os -O2; do
        board $level docs/example/cortex_m/main.c $out/board.log
        line=$(tail -1 $out/board.log)
        check "Cortex-M4 $level, pictures" "$pictures" "${line%%, at most*}"
        # The board's counter runs at 25 MHz, an instruction takes 1 ns.
        echo "$line" | sed 's/.*at most \([0-9]*\) ticks each, \(.*\)/\1 \2/' | {
            read -r ticks stack
            echo "    $((ticks * 40)) instructions a picture, $stack"
        }
    done
    board "-O2 -DBLOBS=\"blobs.h\"" tests/runner_sums.c $out/board.log
    # shellcheck disable=SC2086
    check "Cortex-M4 -O2, $(echo "$small" | wc -l) blobs" "$($out/here_sums $small)" "$(cat $out/board.log)"
else
    skip Cortex-M4 "gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm"
fi
exit $failed
