/* Which instructions of the processor are used.
 *
 * The numeric loops are compiled once for every x86-64 processor, once for AVX2 (x86-64-v3), once
 * for AVX-512 (x86-64-v4) and once for that with bfloat16 products, see KERNELS in the Makefile;
 * which of the four runs is decided when the program starts. DISTILL_ISA in the environment names
 * the highest level allowed, and gives the bits that a processor of that level gives. A build for
 * one processor (`make ARCH=native`) has one set.
 */
#ifndef KD_BASE_ISA_H
#define KD_BASE_ISA_H

/* Each includes those before it. */
typedef enum {
    KD_ISA_PORTABLE,   /* what every processor of the architecture has    */
    KD_ISA_AVX2,       /* x86-64-v3: AVX2, FMA, F16C                      */
    KD_ISA_AVXVNNI,    /* and int8 products in 256-bit registers          */
    KD_ISA_AVX512,     /* x86-64-v4: AVX-512 F, BW, CD, DQ, VL            */
    KD_ISA_AVX512VNNI, /* and int8 products in 512-bit registers          */
    KD_ISA_AVX512BF16, /* and bfloat16 products                           */
    KD_ISA_AMX,        /* and both on tiles                               */
    KD_ISA_DOTPROD,    /* Arm: dot products of bytes (Armv8.2)            */
    KD_ISA_I8MM,       /* Arm: and matrix products of bytes (Armv8.6)     */
    KD_ISA_COUNT
} kd_isa;

const char *kd_isa_name(kd_isa isa);

/* Whether the processor (and the system, which must save the registers) has what this level adds.
 */
int kd_isa_has(kd_isa isa);

/* Whether AVX512-BF16 multiplies faster than AVX-512 does in float32: AMD's processors take two
 * products in the time of one, Intel's do as many as in float32 (without AMX), and the numbers must
 * be rounded first. */
int kd_isa_has_fast_pairs(void);

/* The highest level that may be used: DISTILL_ISA's, or any. What is used is what the processor
 * has of that. Reads the environment at each call; a word that names no level counts as none. */
kd_isa kd_isa_allowed(void);

/* Whether `isa` is there and allowed. */
int kd_isa_may_use(kd_isa isa);

/* KD_EUSAGE where DISTILL_ISA names no level, or one that this processor does not have; where the
 * program was built for a processor that has more than this one, too. */
int kd_isa_check(void);

/* The set of numeric loops in use, decided when the program started: "portable", "avx2", "avx512",
 * "avx512bf16", or, in a build for one processor, what the compiler was told. */
const char *kd_isa_kernels(void);

#endif
