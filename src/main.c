#include <stdio.h>

#include "base/error.h"
#include "cli/cli.h"
#include "cli/environment.h"

int main(int argc, char **argv) {
    kd_environment_settle(argv);
    const int status = kd_environment_check();
    if (status < 0) {
        fprintf(stderr, "distill: %s\n", kd_error());
        return -status;
    }
    return kd_cli_main(argc, argv);
}
