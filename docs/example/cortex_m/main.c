/* A firmware that classifies: the model in flash, one arena in RAM. It runs in qemu's board
 * mps2-an386 (Cortex-M4), prints over the board's serial port and says how many processor cycles
 * or, in qemu with -icount, instructions a picture took. A board of yours brings its own serial_put
 * and start.c.
 *
 *     model.h     distill export student.int8.gguf --c-array model.h
 *     pictures.h  tests/pictures.sh: a few pictures of the test set, `pictures`, `PICTURES`
 */
#include "distill_input.h"

#include "model.h"
#include "pictures.h"

/* --- the board ----------------------------------------------------------------------------------
 */

static volatile uint32_t *const UART = (volatile uint32_t *)0x40004000;
static volatile uint32_t *const SYSTICK = (volatile uint32_t *)0xE000E010;

static void serial_begin(void) {
    UART[4] = 16; /* baud rate divider */
    UART[2] = 1;  /* transmit */
}

static void serial_put(char c) {
    while (UART[1] & 1) { /* full */
    }
    UART[0] = (uint32_t)c;
}

static void print(const char *text) {
    while (*text) serial_put(*text++);
}

static void print_number(uint32_t n) {
    char digits[11];
    int i = 10;
    digits[10] = 0;
    do digits[--i] = (char)('0' + n % 10);
    while ((n /= 10) > 0);
    print(digits + i);
}

static void print_hex(uint32_t n) {
    int i;
    for (i = 28; i >= 0; i -= 4) serial_put("0123456789abcdef"[n >> i & 15]);
}

/* A counter of 24 bits with the processor's clock. */
static void timer_begin(void) {
    SYSTICK[1] = 0xffffff;
    SYSTICK[2] = 0;
    SYSTICK[0] = 5;
}

static uint32_t ticks_since(uint32_t begin) {
    return (begin - SYSTICK[2]) & 0xffffff;
}

/* --- the model ----------------------------------------------------------------------------------
 */

static uint64_t arena[(MODEL_ARENA + 7) / 8];
static distill_picture picture;

/* FNV-1a of all logits, for comparison with other processors. */
static uint64_t add_logits(uint64_t hash, const distill_run *run) {
    static float logits[64];
    const unsigned char *bytes = (const unsigned char *)logits;
    int i;
    distill_run_logits(run, logits);
    for (i = 0; i < 4 * distill_run_classes(run); i++) hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash;
}

/* The stack below main is painted, so that what was used of it can be told. */
extern uint32_t stack_end[], stack_top[];

static uint32_t stack_used(void) {
    const uint32_t *at = stack_end;
    while (at < stack_top && *at == 0xa5a5a5a5u) at++;
    return (uint32_t)((const char *)stack_top - (const char *)at);
}

int main(void) {
    const uint32_t each = sizeof pictures / PICTURES;
    distill_run *run;
    uint64_t hash = 0xcbf29ce484222325u;
    uint32_t i, begin, most = 0;
    int status;
    serial_begin();
    timer_begin();
    begin = SYSTICK[2];
    status = distill_run_open(&run, model, sizeof model, arena, sizeof arena);
    if (status == DISTILL_RUN_OK) status = distill_picture_open(&picture, run, model, sizeof model);
    print(distill_run_error(status));
    print(", opened in ");
    print_number(ticks_since(begin));
    print(" ticks\n");
    if (status != DISTILL_RUN_OK) return 1;
    for (i = 0; i < PICTURES; i++) {
        size_t length, k;
        const char *name;
        uint32_t ticks;
        distill_picture_put(&picture, run, pictures + i * each);
        begin = SYSTICK[2];
        distill_run_invoke(run);
        ticks = ticks_since(begin);
        most = ticks > most ? ticks : most;
        name = distill_run_class_name(&length, run, distill_run_best(run));
        for (k = 0; i < 10 && k < length; k++) serial_put(name[k]);
        if (i < 10) print("\n");
        hash = add_logits(hash, run);
    }
    print_number(PICTURES);
    print(" pictures, logits ");
    print_hex((uint32_t)(hash >> 32));
    print_hex((uint32_t)hash);
    print(", at most ");
    print_number(most);
    print(" ticks each, stack ");
    print_number(stack_used());
    print(" bytes\n");
    return 0;
}
