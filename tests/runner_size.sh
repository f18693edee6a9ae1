#!/bin/sh
# What exported models take of a Cortex-M4: bytes of code at -Os (the runner, and with the table for
# pictures; what they use of the C library counted in), flash, RAM, multiply-adds, the largest stack frame.
# usage: runner_size.sh PROGRAM MODEL...
program=$1
shift
out=build/runner_size
mkdir -p "$out"
compile="arm-none-eabi-gcc -std=c99 -Os -mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16 \
    -ffunction-sections -fdata-sections -Iruntime -I$out"

# Of a program that only opens, fills, runs and asks for the class.
code() { # preprocessing
    cat >"$out/only.c" <<END
#include "distill_input.h"
#include "model.h"
static uint64_t arena[(MODEL_ARENA + 7) / 8];
extern uint8_t pixels[];
uint8_t pixels[1];
int main(void);
int main(void) {
    static distill_picture picture;
    distill_run *run;
    if (distill_run_open(&run, model, sizeof model, arena, sizeof arena) != DISTILL_RUN_OK) return -1;
    if ($1) {
        if (distill_picture_open(&picture, run, model, sizeof model) != DISTILL_RUN_OK) return -1;
        distill_picture_put(&picture, run, pixels);
    }
    distill_run_invoke(run);
    return distill_run_best(run);
}
END
    $compile -nostartfiles -Wl,--gc-sections,-e,main -Wl,--defsym=end=0x20000000 -o "$out/only" \
        "$out/only.c" runtime/*.c -lm 2>"$out/log" || cat "$out/log" >&2
    arm-none-eabi-size "$out/only" | awk -v blob="$bytes" 'NR == 2 {print $1 - blob}'
}

for file in runtime/distill_[fgr]*.c; do
    $compile -fstack-usage -c -o "$out/$(basename "$file" .c).o" "$file" || exit 1
done
echo "largest stack frame: $(cat "$out"/*.su | grep -v distill_run_arena | sort -k2 -n -t'	' | tail -1 | awk '{print $2 " bytes, " $1}')"
echo "model | code | with pictures | weights, graph | RAM | multiply-adds"
for model in "$@"; do
    "$program" export "$model" --c-array "$out/model.h" || exit 1
    bytes=$(wc -c <"$model")
    facts=$(sed -n 's/.*flash, \([0-9]*\) bytes of RAM, \([0-9]*\)$/\1 | \2/p' "$out/model.h" | head -1)
    echo "$(basename "$(dirname "$model")")/$(basename "$model") | $(code 0) | $(code 1) | $bytes | $facts"
done
