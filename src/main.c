#include <stdio.h>

#include "base/error.h"
#include "cli/cli.h"

int main(int argc, char **argv) {
#ifdef __AVX2__
    if (!__builtin_cpu_supports("avx2")) {
        fputs("distill: this build needs a processor with AVX2; `make ARCH=x86-64` makes one that "
              "does not\n",
              stderr);
        return -KD_EINTERNAL;
    }
#endif
    return kd_cli_main(argc, argv);
}
