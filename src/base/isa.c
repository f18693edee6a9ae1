#include "base/isa.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"

static const char *const NAMES[KD_ISA_COUNT] = {
    "portable", "avx2", "avxvnni", "avx512", "avx512vnni", "avx512bf16", "amx", "dotprod", "i8mm"};

const char *kd_isa_name(kd_isa isa) {
    return NAMES[isa];
}

/* --- the processor --------------------------------------------------------------------------- */

#ifdef __x86_64__
#include <cpuid.h>

/* A bit of leaf 7; the registers it needs are checked by its callers. */
static bool leaf7_bit(unsigned subleaf, int which, int bit) {
    unsigned r[4];
    if (!__get_cpuid_count(7, subleaf, &r[0], &r[1], &r[2], &r[3])) return false;
    return r[which] >> bit & 1;
}

/* Whether the system lets programs use the tiles: bits 17 and 18 of XCR0. */
static bool system_saves_tiles(void) {
    unsigned a, b, c, d, low, high;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1)) return false;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & 0x60000) == 0x60000;
}

int kd_isa_has(kd_isa isa) {
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                      __builtin_cpu_supports("bmi2");
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vl");
    switch (isa) {
    case KD_ISA_PORTABLE:
        return true;
    case KD_ISA_AVX2:
        return avx2;
    case KD_ISA_AVXVNNI:
        return avx2 && leaf7_bit(1, 0, 4);
    case KD_ISA_AVX512:
        return avx512;
    case KD_ISA_AVX512VNNI:
        return avx512 && leaf7_bit(0, 2, 11);
    case KD_ISA_AVX512BF16:
        return avx512 && leaf7_bit(1, 0, 5);
    case KD_ISA_AMX:
        return avx512 && leaf7_bit(0, 3, 24) && system_saves_tiles();
    case KD_ISA_DOTPROD:
    case KD_ISA_I8MM:
    case KD_ISA_COUNT:
        break;
    }
    return false;
}

int kd_isa_has_fast_pairs(void) {
    return kd_isa_has(KD_ISA_AVX512BF16) && __builtin_cpu_is("amd");
}

#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>

int kd_isa_has(kd_isa isa) {
    const bool dotprod = getauxval(AT_HWCAP) & HWCAP_ASIMDDP;
    if (isa == KD_ISA_DOTPROD) return dotprod;
    if (isa == KD_ISA_I8MM) return dotprod && getauxval(AT_HWCAP2) & HWCAP2_I8MM;
    return isa == KD_ISA_PORTABLE;
}

#else

int kd_isa_has(kd_isa isa) {
    return isa == KD_ISA_PORTABLE;
}

#endif

#ifndef __x86_64__

int kd_isa_has_fast_pairs(void) {
    return false;
}

#endif

/* --- what is allowed ------------------------------------------------------------------------- */

/* The level of a word, or KD_ISA_COUNT. "vnni" is whichever of the two the processor has. */
static kd_isa parse(const char *word) {
    if (strcmp(word, "vnni") == 0)
        return kd_isa_has(KD_ISA_AVX512VNNI) ? KD_ISA_AVX512VNNI : KD_ISA_AVXVNNI;
    kd_isa isa = KD_ISA_PORTABLE;
    while (isa < KD_ISA_COUNT && strcmp(word, NAMES[isa]) != 0) isa++;
    return isa;
}

static const char *wish(void) {
    const char *word = getenv("DISTILL_ISA");
    return word && *word ? word : NULL;
}

kd_isa kd_isa_allowed(void) {
    const char *word = wish();
    const kd_isa isa = word ? parse(word) : KD_ISA_COUNT;
    return isa < KD_ISA_COUNT ? isa : KD_ISA_COUNT - 1;
}

int kd_isa_may_use(kd_isa isa) {
    return isa <= kd_isa_allowed() && kd_isa_has(isa);
}

/* The names of the levels that the processor has. */
static void list_levels(char *out, size_t capacity) {
    size_t used = 0;
    for (kd_isa i = 0; i < KD_ISA_COUNT; i++)
        if (kd_isa_has(i) && used < capacity)
            used += (size_t)snprintf(out + used, capacity - used, "%s%s", i ? ", " : "", NAMES[i]);
}

static int refuse(const char *word, kd_isa isa) {
    char levels[128];
    list_levels(levels, sizeof levels);
    if (isa < KD_ISA_COUNT)
        return kd_fail(KD_EUSAGE, "DISTILL_ISA=%s: this processor does not have it, but %s", word,
                       levels);
    kd_guess guess = kd_guess_begin(word);
    for (kd_isa i = 0; i < KD_ISA_COUNT; i++) kd_guess_offer(&guess, NAMES[i]);
    kd_guess_offer(&guess, "vnni");
    if (guess.best)
        return kd_fail(KD_EUSAGE,
                       "DISTILL_ISA=%s: no such level, did you mean %s? This processor has %s",
                       word, guess.best, levels);
    return kd_fail(KD_EUSAGE, "DISTILL_ISA=%s: no such level; this processor has %s", word, levels);
}

/* What the compiler was allowed to use everywhere. */
static kd_isa built_for(void) {
#if defined(__AVX512BF16__)
    return KD_ISA_AVX512BF16;
#elif defined(__AVX512F__)
    return KD_ISA_AVX512;
#elif defined(__AVX2__)
    return KD_ISA_AVX2;
#else
    return KD_ISA_PORTABLE;
#endif
}

int kd_isa_check(void) {
    const char *word = wish();
    const kd_isa isa = word ? parse(word) : KD_ISA_PORTABLE, built = built_for();
    if (!kd_isa_has(built))
        return kd_fail(KD_EINTERNAL,
                       "this build needs a processor with %s; `make` without ARCH makes one that "
                       "runs everywhere",
                       NAMES[built]);
    if (isa == KD_ISA_COUNT || !kd_isa_has(isa)) return refuse(word, isa);
    if (word && isa < built)
        return kd_fail(KD_EUSAGE,
                       "DISTILL_ISA=%s: this build has loops for %s and nothing lower; `make` "
                       "without ARCH makes one that has",
                       word, NAMES[built]);
    return KD_OK;
}

/* --- sets of loops --------------------------------------------------------------------------- */

#ifdef KD_KERNELS

/* Every function of a kernel file, one X(name) a line; the file exists as name_portable, name_avx2,
 * name_avx512 and name_avx512bf16. What the rest of the program calls is a jump to one of them. */
#define X(name)                                                                                    \
    void name##_portable(void);                                                                    \
    void name##_avx2(void);                                                                        \
    void name##_avx512(void);                                                                      \
    void name##_avx512bf16(void);                                                                  \
    extern void (*name##_entry)(void) __attribute__((visibility("hidden")));                       \
    void (*name##_entry)(void) = name##_portable;                                                  \
    __asm__(".pushsection .text\n.globl " #name "\n.hidden " #name "\n.type " #name                \
            ", @function\n" #name ":\n\tjmp *" #name "_entry(%rip)\n.size " #name ", .-" #name     \
            "\n.popsection");
#include KD_KERNELS
#undef X

static const char *in_use = "portable";

__attribute__((constructor)) static void choose(void) {
    if (kd_isa_may_use(KD_ISA_AVX512BF16)) {
        in_use = "avx512bf16";
#define X(name) name##_entry = name##_avx512bf16;
#include KD_KERNELS
#undef X
    } else if (kd_isa_may_use(KD_ISA_AVX512)) {
        in_use = "avx512";
#define X(name) name##_entry = name##_avx512;
#include KD_KERNELS
#undef X
    } else if (kd_isa_may_use(KD_ISA_AVX2)) {
        in_use = "avx2";
#define X(name) name##_entry = name##_avx2;
#include KD_KERNELS
#undef X
    }
}

const char *kd_isa_kernels(void) {
    return in_use;
}

#else

const char *kd_isa_kernels(void) {
    return NAMES[built_for()];
}

#endif
